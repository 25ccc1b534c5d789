// Franz-go behind the command line that every client here has; see ../README.md.
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	if len(os.Args) < 4 {
		log.Fatal("usage: produce BOOTSTRAP TOPIC [CODEC] | consume BOOTSTRAP TOPIC GROUP [SESSION_MS]")
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(os.Args[2], ",")...),
		kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelWarn, nil)),
	}
	var err error
	switch topic, rest := os.Args[3], os.Args[4:]; os.Args[1] {
	case "produce":
		err = produce(options, topic, rest)
	case "consume":
		err = consume(options, topic, rest)
	default:
		err = fmt.Errorf("unknown command %s", os.Args[1])
	}
	if err != nil {
		log.Fatal(err)
	}
}

func produce(options []kgo.Opt, topic string, rest []string) error {
	// Franz-go asks for a topic to be made only when told so.
	options = append(options, kgo.DefaultProduceTopic(topic), kgo.AllowAutoTopicCreation())
	if len(rest) > 0 {
		codecs := map[string]kgo.CompressionCodec{
			"gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
			"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
		}
		options = append(options, kgo.ProducerBatchCompression(codecs[rest[0]]))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	var acknowledged atomic.Int64
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		record, err := parse(lines.Text())
		if err != nil {
			return err
		}
		client.Produce(context.Background(), record, func(_ *kgo.Record, err error) {
			if err != nil {
				log.Printf("not delivered: %v", err)
				return
			}
			acknowledged.Add(1)
		})
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if err := client.Flush(context.Background()); err != nil {
		return err
	}
	fmt.Println(acknowledged.Load())
	return nil
}

func consume(options []kgo.Opt, topic string, rest []string) error {
	options = append(options, kgo.ConsumeTopics(topic), kgo.ConsumerGroup(rest[0]),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if len(rest) > 1 {
		ms, err := strconv.Atoi(rest[1])
		if err != nil {
			return err
		}
		options = append(options, kgo.SessionTimeout(time.Duration(ms)*time.Millisecond))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	output := bufio.NewWriter(os.Stdout)
	for stop.Err() == nil {
		fetches := client.PollFetches(stop)
		if err := fetches.Err0(); err != nil && stop.Err() == nil {
			return err
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			log.Printf("%s-%d: %v", topic, partition, err)
		})
		fetches.EachRecord(func(r *kgo.Record) { fmt.Fprint(output, format(r)) })
		if err := output.Flush(); err != nil { // before the next poll, which lets these be committed
			return err
		}
	}
	return nil
}

func parse(line string) (*kgo.Record, error) {
	part := strings.Split(line, "\t")
	if len(part) != 4 {
		return nil, fmt.Errorf("%d fields in a line", len(part))
	}
	record := &kgo.Record{Key: data(part[1]), Value: data(part[2])}
	if part[0] != "-" {
		ms, err := strconv.ParseInt(part[0], 10, 64)
		if err != nil {
			return nil, err
		}
		record.Timestamp = time.UnixMilli(ms)
	}
	for pair := range strings.SplitSeq(part[3], ",") {
		if name, value, ok := strings.Cut(pair, ":"); ok {
			header := kgo.RecordHeader{Key: string(data(name)), Value: data(value)}
			record.Headers = append(record.Headers, header)
		}
	}
	return record, nil
}

func format(r *kgo.Record) string {
	headers := make([]string, len(r.Headers))
	for i, header := range r.Headers {
		headers[i] = text([]byte(header.Key)) + ":" + text(header.Value)
	}
	return fmt.Sprintf("%d\t%d\t%d\t%s\t%s\t%s\n", r.Partition, r.Offset, r.Timestamp.UnixMilli(),
		text(r.Key), text(r.Value), strings.Join(headers, ","))
}

// data gives nil for null and an empty slice for no bytes: the two are not the same.
func data(text string) []byte {
	if text == "-" {
		return nil
	}
	bytes, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		log.Fatal(err)
	}
	return bytes
}

func text(data []byte) string {
	if data == nil {
		return "-"
	}
	return base64.StdEncoding.EncodeToString(data)
}
