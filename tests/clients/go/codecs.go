package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	count = 60
	start = 1_700_000_000_000
	step  = 1_000
)

func (m *matrix) codecs() {
	plain := kgo.DisableIdempotentWrite()
	acks := map[string][]kgo.Opt{
		"idempotent": nil, // the default
		"acks-0":     {plain, kgo.RequiredAcks(kgo.NoAck())},
		"acks-1":     {plain, kgo.RequiredAcks(kgo.LeaderAck())},
		"acks-all":   {plain},
	}
	codecs := []kgo.CompressionCodec{
		kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(),
		kgo.ZstdCompression(),
	}
	for _, how := range []string{"idempotent", "acks-0", "acks-1", "acks-all"} {
		for number, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
			options := append(acks[how], kgo.ProducerBatchCompression(codecs[number]))
			m.check(fmt.Sprintf("franz-go, %s, %s: there and back", how, name), func(ctx context.Context) error {
				return m.thereAndBack(ctx, "franz-go-"+how+"-"+name, uint8(number), options)
			})
		}
	}
}

func (m *matrix) thereAndBack(ctx context.Context, topic string, codec uint8, options []kgo.Opt) error {
	sent := records(topic)
	if _, err := m.admin.CreateTopic(ctx, 2, 1, nil, topic); err != nil {
		return err
	}
	if err := m.produce(ctx, sent, options...); err != nil {
		return err
	}
	// With acks=0 nobody says when the records are there.
	if err := m.awaitBounds(ctx, topic, 0, count); err != nil {
		return err
	}
	if _, err := m.expect(ctx, sent, 37); err != nil {
		return err
	}
	found, err := m.expect(ctx, sent, 0)
	if err != nil {
		return err
	}
	one := found[0].Attrs.CompressionType()
	return require(one == codec, "it came back with codec %d instead of %d", one, codec)
}

// records of every kind: empty, binary, with and without key and headers.
func records(topic string) []*kgo.Record {
	made := make([]*kgo.Record, count)
	for i := range made {
		value := make([]byte, i*13)
		for j := range value {
			value[j] = byte(i*7 + j*31)
		}
		made[i] = &kgo.Record{Topic: topic, Partition: 1, Value: value}
		made[i].Timestamp = time.UnixMilli(start + int64(i)*step)
		if i%4 > 0 {
			made[i].Key = fmt.Appendf(nil, "key-%d-ü", i)
		}
		if i%3 > 0 {
			made[i].Headers = []kgo.RecordHeader{
				{Key: "count", Value: fmt.Append(nil, i)}, {Key: "binary", Value: []byte{0, 255, byte(i)}},
			}
		}
	}
	return made
}

// produce sends the records to the partitions that they name, those of a partition as one batch.
func (m *matrix) produce(ctx context.Context, records []*kgo.Record, options ...kgo.Opt) error {
	options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ManualFlushing())
	client, err := m.client(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	var failure kgo.FirstErrPromise
	for _, record := range records {
		client.Produce(ctx, record, failure.Promise())
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	return failure.Err()
}

// expect reads partition 1 from an offset to the end, and wants what was sent there.
func (m *matrix) expect(ctx context.Context, sent []*kgo.Record, from int64) ([]*kgo.Record, error) {
	at := map[string]map[int32]kgo.Offset{sent[0].Topic: {1: kgo.NewOffset().At(from)}}
	client, err := m.client(kgo.ConsumePartitions(at))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var found []*kgo.Record
	for from+int64(len(found)) < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("after %d records: %w", len(found), err)
		}
		found = append(found, fetches.Records()...)
	}
	for i, one := range found {
		offset := from + int64(i)
		if one.Offset != offset || offset >= count || !equal(one, sent[offset]) {
			return nil, fmt.Errorf("offset %d instead of %d, or another record", one.Offset, offset)
		}
	}
	return found, nil
}

func equal(one, other *kgo.Record) bool {
	headers := slices.EqualFunc(one.Headers, other.Headers, func(a, b kgo.RecordHeader) bool {
		return a.Key == b.Key && bytes.Equal(a.Value, b.Value)
	})
	return headers && bytes.Equal(one.Key, other.Key) && (one.Key == nil) == (other.Key == nil) &&
		bytes.Equal(one.Value, other.Value) && one.Timestamp.Equal(other.Timestamp)
}
