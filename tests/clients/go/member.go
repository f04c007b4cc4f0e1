package main

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type place struct {
	partition int32
	offset    int64
}

// member consumes in a goroutine of its own and commits what it has seen, until it leaves.
type member struct {
	client  *kgo.Client
	stop    context.CancelFunc
	stopped chan error

	mutex sync.Mutex
	seen  []place
	held  map[int32]bool
	taken int // partitions that a rebalance has taken from it
}

// join makes a member with the library's own strategy, which is cooperative-sticky.
func (m *matrix) join(group, topic string) (*member, error) {
	joined := &member{held: map[int32]bool{}, stopped: make(chan error, 1)}
	gain := func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
		joined.mutex.Lock()
		defer joined.mutex.Unlock()
		for _, partition := range got[topic] {
			joined.held[partition] = true
		}
	}
	lose := func(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
		joined.mutex.Lock()
		defer joined.mutex.Unlock()
		for _, partition := range lost[topic] {
			delete(joined.held, partition)
			joined.taken++
		}
	}
	client, err := m.client(
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.HeartbeatInterval(500*time.Millisecond),
		// So that nothing is taken away between a poll and its commit.
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(gain), kgo.OnPartitionsRevoked(lose), kgo.OnPartitionsLost(lose),
		// The library lets a fetch wait to its end before it asks for partitions newly gained.
		kgo.FetchMaxWait(500*time.Millisecond), kgo.UserMetricsFn(ofTheShop),
	)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	joined.client, joined.stop = client, stop
	go func() { joined.stopped <- joined.consume(ctx) }()
	return joined, nil
}

// ofTheShop is what an application adds to the metrics that the library pushes.
func ofTheShop() iter.Seq[kgo.Metric] {
	return slices.Values([]kgo.Metric{
		{Name: "shop.orders.waiting", Type: kgo.MetricTypeGauge, ValueInt: 7, Attrs: map[string]any{"shop": "north"}},
	})
}

func (m *member) consume(ctx context.Context) error {
	for ctx.Err() == nil {
		fetches := m.client.PollFetches(ctx)
		if err := fetches.Err(); err != nil && ctx.Err() == nil {
			return err
		}
		m.mutex.Lock()
		fetches.EachRecord(func(record *kgo.Record) {
			m.seen = append(m.seen, place{record.Partition, record.Offset})
		})
		m.mutex.Unlock()
		if err := m.client.CommitUncommittedOffsets(context.Background()); err != nil {
			return err
		}
		m.client.AllowRebalance()
	}
	return nil
}

// leave stops consuming and leaves the group; tells what went wrong while it was a member.
func (m *member) leave() error {
	m.stop()
	err := <-m.stopped
	m.client.CloseAllowingRebalance()
	return err
}

// state tells what it has seen, what it holds, and how many partitions were taken from it.
func (m *member) state() (seen []place, held []int32, taken int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return slices.Clone(m.seen), slices.Sorted(maps.Keys(m.held)), m.taken
}
