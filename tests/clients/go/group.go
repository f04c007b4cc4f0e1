package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	group      = "franz-go-together"
	shared     = "franz-go-shared"
	partitions = 6
)

func (m *matrix) group() {
	one, other := &member{}, &member{}
	check := func(name string, check func(context.Context) error) {
		m.check("a group of franz-go: "+name, check)
	}
	check("the first member has all partitions", func(ctx context.Context) (err error) {
		if _, err = m.admin.CreateTopic(ctx, partitions, 1, nil, shared); err != nil {
			return err
		}
		if one, err = m.join(group, shared); err != nil {
			return err
		}
		return errors.Join(m.share(ctx, 50), everything(ctx, 50, one))
	})
	if one.client == nil {
		return
	}
	check("the second takes half of them, the others stay", func(ctx context.Context) (err error) {
		if other, err = m.join(group, shared); err != nil {
			return err
		}
		err = until(ctx, func() error {
			_, mine, taken := one.state()
			_, its, _ := other.state()
			all := slices.Sorted(slices.Values(slices.Concat(mine, its)))
			half := len(mine) == 3 && slices.Equal(all, []int32{0, 1, 2, 3, 4, 5})
			return require(half && taken == 3, "they hold %v and %v, %d were taken", mine, its, taken)
		})
		return errors.Join(err, m.share(ctx, 50), everything(ctx, 100, one, other))
	})
	if other.client == nil {
		return
	}
	check("it is described and listed", m.described)
	check("one leaves, the other goes on from its commits", func(ctx context.Context) error {
		return errors.Join(one.leave(), m.share(ctx, 20), everything(ctx, 120, one, other))
	})
	check("kadm and the server's page know the same lag", func(ctx context.Context) error {
		return errors.Join(other.leave(), m.share(ctx, 10), m.sameLag(ctx, 10))
	})
	check("offsets committed by kadm are fetched", func(ctx context.Context) error {
		var back kadm.Offsets
		for partition := range int32(partitions) {
			back.Add(kadm.Offset{Topic: shared, Partition: partition, At: 100, LeaderEpoch: -1, Metadata: "back"})
		}
		if err := m.admin.CommitAllOffsets(ctx, group, back); err != nil {
			return err
		}
		found, err := m.admin.FetchOffsets(ctx, group)
		is := len(found[shared]) == partitions
		found.Each(func(at kadm.OffsetResponse) { is = is && at.At == 100 && at.Metadata == "back" })
		return errors.Join(err, found.Error(), require(is, "they are %v", found), m.sameLag(ctx, 30))
	})
	check("it is deleted", func(ctx context.Context) error {
		_, err := m.admin.DeleteGroup(ctx, group)
		listed, failed := m.admin.ListGroups(ctx)
		_, there := listed[group]
		return errors.Join(err, failed, require(!there, "it is still listed"))
	})
}

// share produces so many records to each partition, in turn.
func (m *matrix) share(ctx context.Context, each int) error {
	made := make([]*kgo.Record, each*partitions)
	for i := range made {
		made[i] = &kgo.Record{Topic: shared, Partition: int32(i % partitions), Value: fmt.Append(nil, i)}
	}
	return m.produce(ctx, made)
}

// everything waits until the members have seen so many records of each partition, each once.
func everything(ctx context.Context, each int64, members ...*member) error {
	var seen []place
	err := until(ctx, func() error {
		seen = nil
		for _, member := range members {
			has, _, _ := member.state()
			seen = append(seen, has...)
		}
		return require(len(seen) >= int(each*partitions), "they have seen %d records", len(seen))
	})
	slices.SortFunc(seen, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
	})
	for i, at := range seen {
		if wanted := (place{int32(int64(i) / each), int64(i) % each}); at != wanted {
			return errors.Join(err, fmt.Errorf("%v was seen instead of %v", at, wanted))
		}
	}
	return err
}

func (m *matrix) described(ctx context.Context) error {
	described, err := m.admin.DescribeGroups(ctx, group)
	found := described[group]
	has := found.AssignedPartitions()[shared]
	is := found.State == "Stable" && found.Protocol == "cooperative-sticky" &&
		len(found.Members) == 2 && len(has) == partitions
	listed, failed := m.admin.ListGroups(ctx, "Stable")
	_, there := listed[group]
	return errors.Join(err, failed, found.Err, require(is && there, "it is %+v, listed are %v", found, listed.Groups()))
}

// sameLag wants that lag in each partition from kadm, and the same from the server's page as soon
// as it is computed.
func (m *matrix) sameLag(ctx context.Context, each int64) error {
	lags, err := m.admin.Lag(ctx, group)
	lag := lags[group]
	is := lag.State == "Empty" && lag.Lag.Total() == each*partitions
	err = errors.Join(err, lag.Error(), require(is, "kadm says %s, %d", lag.State, lag.Lag.Total()))
	if err != nil {
		return err
	}
	return until(ctx, func() error {
		page, err := m.page(ctx)
		is := page.State == "empty" && page.Lag == each*partitions && len(page.Partitions) == partitions
		for _, at := range page.Partitions {
			same, there := lag.Lag.Lookup(shared, at.Partition)
			is = is && there && at.Committed == same.Commit.At && at.End == same.End.Offset && at.Lag == same.Lag
		}
		return errors.Join(err, require(is, "the page says %+v, kadm %+v", page, lag.Lag))
	})
}

// page is what the server says of the group.
type page struct {
	State      string
	Lag        int64
	Partitions []struct {
		Partition           int32
		Committed, End, Lag int64
	}
}

func (m *matrix) page(ctx context.Context) (found page, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.pages+"/groups/"+group, nil)
	if err != nil {
		return found, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return found, err
	}
	defer answer.Body.Close()
	err = json.NewDecoder(answer.Body).Decode(&found)
	return found, err
}
