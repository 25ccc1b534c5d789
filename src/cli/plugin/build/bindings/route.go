package millstream

import "unsafe"

var route func(*Message) ([]string, error)

// Route says what the plugin is: the names of the outputs that a record goes to.
func Route(function func(message *Message) ([]string, error)) { route = function }

//go:wasmexport millstream:plugin/router@0.1.0#route
func call(
	hasKey, key, keyLength, hasValue, value, valueLength, headers, headerCount uint32,
	timestampMs int64, hasPartition, partition uint32,
) unsafe.Pointer {
	names, err := route(lift(hasKey, key, keyLength, hasValue, value, valueLength, headers,
		headerCount, timestampMs, hasPartition, partition))
	lowered := make([]span, len(names))
	for i, name := range names {
		lowered[i] = lowerString(name)
	}
	return answer(lowerList(lowered), 0, err)
}

//go:wasmexport cabi_post_millstream:plugin/router@0.1.0#route
func called(unsafe.Pointer) { done() }
