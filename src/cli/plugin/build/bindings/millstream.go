// Package millstream is the contract between Millstream and a plugin (`wit/` of Millstream) for
// Go. Written by `millstream plugin build`.
//
// A plugin says once what it is, in a function init: Filter(keep), Transform(transform) or
// Route(route), with what it was built for.
package millstream

import (
	"errors"
	"unsafe"
)

// Message is one record. A nil key or value is Kafka's null, which is not the same as one of no
// bytes.
type Message struct {
	Key         []byte
	Value       []byte
	Headers     []Header
	TimestampMs int64
	// Partition is where the message is to be written; nil: by the key.
	Partition *uint32
}

// Header is one header of a message.
type Header struct {
	Name  string
	Value []byte
}

// Level says how much a line in the log matters.
type Level uint32

// The levels.
const (
	Debug Level = iota
	Info
	Warn
	Error
)

type badMessage struct{ text string }

func (e badMessage) Error() string { return e.text }

// BadMessage is the error that says that the message is at fault. Any other error says that the
// plugin is, or its configuration.
func BadMessage(text string) error { return badMessage{text} }

// Config is the value of the step's configuration, and whether there is one.
func Config(name string) (string, bool) {
	abiConfigGet(unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), unsafe.Pointer(&found))
	value := found.lift()
	return string(value), value != nil
}

// Pipeline is the name of the pipeline that the plugin is part of.
func Pipeline() string { return text(abiPipeline) }

// Step is the step's number and its plugin's name, as in "2-flatten".
func Step() string { return text(abiStep) }

// Topic is the source topic.
func Topic() string { return text(abiTopic) }

// Partition is the partition of the source topic.
func Partition() uint32 { return abiPartition() }

// Offset is the offset of the record in the partition.
func Offset() int64 { return abiOffset() }

// Log writes a line to the broker's log.
func Log(level Level, text string) {
	abiLog(uint32(level), unsafe.Pointer(unsafe.StringData(text)), uint32(len(text)))
}

// From here on: how it is done. Pointers have 32 bits outside and 64 inside, so that what the host
// reads is made of numbers, and of bytes that `held` keeps from being collected.

//go:wasmimport millstream:plugin/config@0.1.0 get
func abiConfigGet(name unsafe.Pointer, length uint32, result unsafe.Pointer)

//go:wasmimport millstream:plugin/context@0.1.0 pipeline
func abiPipeline(result unsafe.Pointer)

//go:wasmimport millstream:plugin/context@0.1.0 step
func abiStep(result unsafe.Pointer)

//go:wasmimport millstream:plugin/context@0.1.0 topic
func abiTopic(result unsafe.Pointer)

//go:wasmimport millstream:plugin/context@0.1.0 partition
func abiPartition() uint32

//go:wasmimport millstream:plugin/context@0.1.0 offset
func abiOffset() int64

func text(get func(unsafe.Pointer)) string {
	get(unsafe.Pointer(&found.span))
	return string(found.span.bytes())
}

//go:wasmimport millstream:plugin/logging@0.1.0 log
func abiLog(level uint32, text unsafe.Pointer, length uint32)

// found is where the host writes: a stack may be moved while it does.
var found option

// held is what the host or the call's result points to.
var held []any

//go:wasmexport cabi_realloc
func abiRealloc(old unsafe.Pointer, oldLength, align, length uint32) unsafe.Pointer {
	if length == 0 {
		return unsafe.Pointer(uintptr(align))
	}
	// Eight bytes are as aligned as anything in the contract is.
	words := make([]uint64, (length+7)/8)
	place := unsafe.Pointer(&words[0])
	if oldLength > 0 {
		copy(unsafe.Slice((*byte)(place), length), unsafe.Slice((*byte)(old), oldLength))
	}
	held = append(held, words)
	return place
}

type span struct{ ptr, length uint32 }

type option struct {
	some uint8
	span
}

type abiHeader struct {
	name  span
	value option
}

type abiMessage struct {
	key, value   option
	headers      span
	timestampMs  int64
	hasPartition uint8
	partition    uint32
}

type result struct {
	isError uint8
	// Of a failure: which. Of a filter: whether to keep.
	first uint32
	ptr   uint32
	len   uint32
}

func (s span) bytes() []byte {
	if s.length == 0 {
		return []byte{}
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(uintptr(s.ptr))), s.length)
}

func (o option) lift() []byte {
	if o.some == 0 {
		return nil
	}
	return o.span.bytes()
}

func address(pointer unsafe.Pointer) uint32 { return uint32(uintptr(pointer)) }

func lowerBytes(value []byte) span {
	if len(value) == 0 {
		return span{1, 0}
	}
	held = append(held, value)
	return span{address(unsafe.Pointer(&value[0])), uint32(len(value))}
}

func lowerString(text string) span {
	if text == "" {
		return span{1, 0}
	}
	held = append(held, text)
	return span{address(unsafe.Pointer(unsafe.StringData(text))), uint32(len(text))}
}

func lowerOption(value []byte) option {
	if value == nil {
		return option{}
	}
	return option{1, lowerBytes(value)}
}

func lowerMessage(message *Message) abiMessage {
	headers := make([]abiHeader, len(message.Headers))
	for i, header := range message.Headers {
		headers[i] = abiHeader{lowerString(header.Name), lowerOption(header.Value)}
	}
	lowered := abiMessage{
		key:         lowerOption(message.Key),
		value:       lowerOption(message.Value),
		headers:     lowerList(headers),
		timestampMs: message.TimestampMs,
	}
	if message.Partition != nil {
		lowered.hasPartition, lowered.partition = 1, *message.Partition
	}
	return lowered
}

func lowerList[T any](list []T) span {
	if len(list) == 0 {
		return span{8, 0}
	}
	held = append(held, list)
	return span{address(unsafe.Pointer(&list[0])), uint32(len(list))}
}

// lift copies the message, so that a plugin may keep what it likes.
func lift(
	hasKey, key, keyLength, hasValue, value, valueLength, headers, headerCount uint32,
	timestampMs int64, hasPartition, partition uint32,
) *Message {
	message := &Message{
		Key:         option{uint8(hasKey), span{key, keyLength}}.lift(),
		Value:       option{uint8(hasValue), span{value, valueLength}}.lift(),
		TimestampMs: timestampMs,
	}
	if hasPartition != 0 {
		message.Partition = &partition
	}
	if headerCount > 0 {
		given := unsafe.Slice((*abiHeader)(unsafe.Pointer(uintptr(headers))), headerCount)
		message.Headers = make([]Header, headerCount)
		for i, header := range given {
			message.Headers[i] = Header{string(header.name.bytes()), header.value.lift()}
		}
	}
	return message
}

// returned is where the host reads the result.
var returned result

func answer(list span, first uint32, err error) unsafe.Pointer {
	returned = result{0, list.ptr, list.length, 0}
	if list.ptr == 0 {
		returned.first = first
	}
	if err != nil {
		text := lowerString(err.Error())
		returned = result{1, 1, text.ptr, text.length}
		var bad badMessage
		if errors.As(err, &bad) {
			returned.first = 0
		}
	}
	return unsafe.Pointer(&returned)
}

// done lets go of what the call held.
func done() {
	clear(held)
	held = held[:0]
}
