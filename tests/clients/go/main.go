// The matrix through franz-go: every acks and every codec, the idempotent default included; a group
// that shares and hands over; and what kadm asks of groups, records and settings.
//
// usage: matrix BROKERS ADMIN, the addresses of Kafka's protocol and of the server's own pages.
// Prints one line per check: PASS name, or FAIL name: reason; and at the end DONE number.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// How long a check may take.
const patience = 60 * time.Second

type matrix struct {
	brokers, pages string
	admin          *kadm.Client
	done, failed   int
}

func main() {
	m := &matrix{brokers: os.Args[1], pages: "http://" + os.Args[2]}
	client, err := m.client()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	m.admin = kadm.NewClient(client)
	m.codecs()
	m.log()
	m.group()
	client.Close()
	fmt.Println("DONE", m.done)
	if m.failed > 0 {
		os.Exit(1)
	}
}

// client connects as the options say; all else is the library's default, its own metrics included.
func (m *matrix) client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(options, kgo.SeedBrokers(m.brokers))...)
}

func (m *matrix) check(name string, check func(context.Context) error) {
	m.done++
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := check(ctx); err != nil {
		m.failed++
		fmt.Printf("FAIL %s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	fmt.Println("PASS", name)
}

// until repeats what fails until it does not; the last failure stands if it never holds.
func until(ctx context.Context, holds func() error) error {
	for {
		err := holds()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it did not come true in time: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// require fails unless the condition holds.
func require(holds bool, otherwise string, values ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(otherwise, values...)
}

// refused wants that error, and that it names all words.
func refused(err, wanted error, words ...string) error {
	if !errors.Is(err, wanted) {
		return fmt.Errorf("the error is %v instead of %v", err, wanted)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			return fmt.Errorf("the error %v does not name %s", err, word)
		}
	}
	return nil
}
