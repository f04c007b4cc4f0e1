package main

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// log checks what is asked of one topic's log and settings, and of a topic that does not exist.
func (m *matrix) log() {
	const topic, nowhere = "franz-go-log", "franz-go-nowhere"
	sent := records(topic)
	m.check("franz-go: records found by timestamp", func(ctx context.Context) error {
		_, err := m.admin.CreateTopic(ctx, 2, 1, nil, topic)
		err = errors.Join(err, m.produce(ctx, sent))
		listed, failed := m.admin.ListOffsetsAfterMilli(ctx, start+20*step-step/2, topic)
		at, _ := listed.Lookup(topic, 1)
		return errors.Join(err, failed, at.Err, require(at.Offset == 20, "offset %d instead of 20", at.Offset))
	})
	m.check("franz-go: records deleted on request", func(ctx context.Context) error {
		if err := m.deleteRecords(ctx, topic, 50); err != nil {
			return err
		}
		_, err := m.expect(ctx, sent, 50)
		return errors.Join(err, m.awaitBounds(ctx, topic, 50, count))
	})
	m.check("franz-go: records beyond the end are not deleted", func(ctx context.Context) error {
		err := refused(m.deleteRecords(ctx, topic, count+1), kerr.OffsetOutOfRange)
		return errors.Join(err, m.awaitBounds(ctx, topic, 50, count))
	})
	m.check("franz-go: retention.ms changed", func(ctx context.Context) error {
		if err := m.setRetention(ctx, topic, "3600000"); err != nil {
			return err
		}
		err := refused(m.setRetention(ctx, topic, "soon"), kerr.InvalidConfig, "retention.ms", "soon")
		described, failed := m.admin.DescribeTopicConfigs(ctx, topic)
		found, missing := described.On(topic, nil)
		is := ""
		for _, one := range found.Configs {
			if one.Key == "retention.ms" {
				is = one.MaybeValue()
			}
		}
		return errors.Join(err, failed, missing, found.Err, require(is == "3600000", "it is %q", is))
	})
	m.check("franz-go: records removed by age", func(ctx context.Context) error {
		err := m.setRetention(ctx, topic, "1")
		return errors.Join(err, m.awaitBounds(ctx, topic, count, count))
	})
	m.check("franz-go: a topic that does not exist is an error", func(ctx context.Context) error {
		err := m.produce(ctx, records(nowhere), kgo.UnknownTopicRetries(1), kgo.MetadataMinAge(100*time.Millisecond))
		listed, failed := m.admin.ListEndOffsets(ctx, nowhere)
		return errors.Join(
			refused(err, kerr.UnknownTopicOrPartition),
			refused(errors.Join(failed, listed.Error()), kerr.UnknownTopicOrPartition),
		)
	})
}

// deleteRecords deletes what is before the offset in partition 1.
func (m *matrix) deleteRecords(ctx context.Context, topic string, offset int64) error {
	var before kadm.Offsets
	before.Add(kadm.Offset{Topic: topic, Partition: 1, At: offset})
	deleted, err := m.admin.DeleteRecords(ctx, before)
	if err = errors.Join(err, deleted.Error()); err != nil {
		return err
	}
	found, err := deleted.On(topic, 1, nil)
	low := found.LowWatermark
	return errors.Join(err, require(low == offset, "the log begins at %d instead of %d", low, offset))
}

func (m *matrix) setRetention(ctx context.Context, topic, value string) error {
	set := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &value}}
	changed, err := m.admin.AlterTopicConfigs(ctx, set, topic)
	found, missing := changed.On(topic, nil)
	if err = errors.Join(err, missing, found.Err); err != nil {
		return errors.Join(err, errors.New(found.ErrMessage))
	}
	return nil
}

// awaitBounds waits until the log of partition 1 begins and ends there.
func (m *matrix) awaitBounds(ctx context.Context, topic string, first, end int64) error {
	return until(ctx, func() error {
		starts, err := m.admin.ListStartOffsets(ctx, topic)
		ends, failed := m.admin.ListEndOffsets(ctx, topic)
		from, _ := starts.Lookup(topic, 1)
		to, _ := ends.Lookup(topic, 1)
		is := from.Offset == first && to.Offset == end
		return errors.Join(err, failed, require(is, "the log is from %d to %d", from.Offset, to.Offset))
	})
}
