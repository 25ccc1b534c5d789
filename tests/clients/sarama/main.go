// Sarama behind the command line that every client here has; see ../README.md.
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
	"sync"
	"syscall"
	"time"

	"github.com/IBM/sarama"
)

func main() {
	if len(os.Args) < 4 {
		log.Fatal("usage: produce BOOTSTRAP TOPIC [CODEC] | consume BOOTSTRAP TOPIC GROUP [SESSION_MS]")
	}
	var err error
	brokers := strings.Split(os.Args[2], ",")
	switch topic, rest := os.Args[3], os.Args[4:]; os.Args[1] {
	case "produce":
		err = produce(brokers, topic, rest)
	case "consume":
		err = consume(brokers, topic, rest)
	default:
		err = fmt.Errorf("unknown command %s", os.Args[1])
	}
	if err != nil {
		log.Fatal(err)
	}
}

func produce(brokers []string, topic string, rest []string) error {
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	if len(rest) > 0 {
		if err := config.Producer.Compression.UnmarshalText([]byte(rest[0])); err != nil {
			return err
		}
	}
	producer, err := sarama.NewAsyncProducer(brokers, config)
	if err != nil {
		return err
	}
	var answers sync.WaitGroup
	acknowledged := 0
	answers.Go(func() {
		for range producer.Successes() {
			acknowledged++
		}
	})
	answers.Go(func() {
		for refused := range producer.Errors() {
			log.Printf("not delivered: %v", refused)
		}
	})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		message, err := parse(topic, lines.Text())
		if err != nil {
			return err
		}
		producer.Input() <- message
	}
	producer.AsyncClose()
	answers.Wait()
	fmt.Println(acknowledged)
	return lines.Err()
}

// printer is what a consumer group runs: a goroutine for each partition.
type printer struct {
	lock   sync.Mutex
	output *bufio.Writer
}

func (*printer) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*printer) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (p *printer) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	for message := range c.Messages() {
		if err := p.print(message); err != nil {
			return err
		}
		s.MarkMessage(message, "") // only now: what is marked is committed
	}
	return nil
}

func (p *printer) print(message *sarama.ConsumerMessage) error {
	p.lock.Lock()
	defer p.lock.Unlock()
	fmt.Fprint(p.output, format(message))
	return p.output.Flush()
}

func consume(brokers []string, topic string, rest []string) error {
	config := sarama.NewConfig()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	if len(rest) > 1 {
		ms, err := strconv.Atoi(rest[1])
		if err != nil {
			return err
		}
		config.Consumer.Group.Session.Timeout = time.Duration(ms) * time.Millisecond
	}
	group, err := sarama.NewConsumerGroup(brokers, rest[0], config)
	if err != nil {
		return err
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	handler := &printer{output: bufio.NewWriter(os.Stdout)}
	for stop.Err() == nil { // returns at each rebalance
		if err := group.Consume(stop, []string{topic}, handler); err != nil {
			return err
		}
	}
	return group.Close()
}

func parse(topic, line string) (*sarama.ProducerMessage, error) {
	part := strings.Split(line, "\t")
	if len(part) != 4 {
		return nil, fmt.Errorf("%d fields in a line", len(part))
	}
	key, value := sarama.ByteEncoder(data(part[1])), sarama.ByteEncoder(data(part[2]))
	message := &sarama.ProducerMessage{Topic: topic, Value: value}
	if key != nil {
		message.Key = key // a null one would be hashed
	}
	if part[0] != "-" {
		ms, err := strconv.ParseInt(part[0], 10, 64)
		if err != nil {
			return nil, err
		}
		message.Timestamp = time.UnixMilli(ms)
	}
	for pair := range strings.SplitSeq(part[3], ",") {
		if name, value, ok := strings.Cut(pair, ":"); ok {
			header := sarama.RecordHeader{Key: data(name), Value: data(value)}
			message.Headers = append(message.Headers, header)
		}
	}
	return message, nil
}

func format(m *sarama.ConsumerMessage) string {
	headers := make([]string, len(m.Headers))
	for i, header := range m.Headers {
		headers[i] = text(header.Key) + ":" + text(header.Value)
	}
	return fmt.Sprintf("%d\t%d\t%d\t%s\t%s\t%s\n", m.Partition, m.Offset, m.Timestamp.UnixMilli(),
		text(m.Key), text(m.Value), strings.Join(headers, ","))
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
