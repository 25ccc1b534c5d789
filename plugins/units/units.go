// Units is a transformer that converts numbers in JSON objects from one unit to another.
//
// Config: convert is a list of conversions, separated by commas, each the name of a field, its unit,
// the name that it gets and the unit that it gets, as in "depth_km km depth_mi mi". digits is how
// many decimal digits stay, 0 to 9, default 3.
//
// Units: mm, cm, m, km, in, ft, mi, nmi; g, kg, oz, lb; c, f, k; m/s, km/h, mph, kn; pa, hpa, bar,
// psi. A field that is missing or null is left alone.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"sync"

	millstream "units/gen"
)

// A unit is factor times the first of its quantity, from the point zero on.
type unit struct {
	quantity     string
	factor, zero float64
}

var units = map[string]unit{
	"mm": {"length", 0.001, 0}, "cm": {"length", 0.01, 0}, "m": {"length", 1, 0},
	"km": {"length", 1000, 0}, "in": {"length", 0.0254, 0}, "ft": {"length", 0.3048, 0},
	"mi": {"length", 1609.344, 0}, "nmi": {"length", 1852, 0},
	"g": {"mass", 0.001, 0}, "kg": {"mass", 1, 0}, "oz": {"mass", 0.028349523125, 0},
	"lb": {"mass", 0.45359237, 0},
	"k":  {"temperature", 1, 0}, "c": {"temperature", 1, 273.15},
	"f":   {"temperature", 5.0 / 9.0, 273.15 - 32*5.0/9.0},
	"m/s": {"speed", 1, 0}, "km/h": {"speed", 1 / 3.6, 0}, "mph": {"speed", 0.44704, 0},
	"kn": {"speed", 1852.0 / 3600, 0},
	"pa": {"pressure", 1, 0}, "hpa": {"pressure", 100, 0}, "bar": {"pressure", 100000, 0},
	"psi": {"pressure", 6894.757293168, 0},
}

type conversion struct {
	name     string
	from, to unit
}

type settings struct {
	byField map[string]conversion
	digits  int
}

// The configuration does not change as long as the instance lives.
var read = sync.OnceValues(func() (settings, error) {
	digits := 3
	if text, given := millstream.Config("digits"); given {
		var err error
		if digits, err = strconv.Atoi(text); err != nil || digits < 0 || digits > 9 {
			return settings{}, errors.New("config `digits` is not a number from 0 to 9")
		}
	}
	list, _ := millstream.Config("convert")
	conversions := map[string]conversion{}
	for _, text := range strings.Split(list, ",") {
		words := strings.Fields(text)
		if len(words) != 4 {
			return settings{}, errors.New("config `convert` has " + strconv.Quote(text) +
				"; expected is FIELD UNIT FIELD UNIT")
		}
		from, known := units[strings.ToLower(words[1])]
		to, alsoKnown := units[strings.ToLower(words[3])]
		if !known || !alsoKnown || from.quantity != to.quantity {
			return settings{}, errors.New("config `convert` cannot make " + words[3] + " of " +
				words[1])
		}
		conversions[words[0]] = conversion{words[2], from, to}
	}
	return settings{conversions, digits}, nil
})

func transform(message *millstream.Message) ([]*millstream.Message, error) {
	settings, err := read()
	if err != nil {
		return nil, err
	}
	if message.Value, err = convert(message.Value, settings); err != nil {
		return nil, millstream.BadMessage(err.Error())
	}
	return []*millstream.Message{message}, nil
}

// convert copies the object field by field, so that their order and all other values stay.
func convert(value []byte, settings settings) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(value))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.New("the value is not a JSON object")
	}
	out := make([]byte, 0, len(value)+32)
	out = append(out, '{')
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		var field json.RawMessage
		if err := decoder.Decode(&field); err != nil {
			return nil, err
		}
		text := name.(string)
		if wanted, found := settings.byField[text]; found && string(field) != "null" {
			number, err := strconv.ParseFloat(string(field), 64)
			if err != nil {
				return nil, errors.New("`" + text + "` is not a number")
			}
			text = wanted.name
			field = wanted.convert(number, settings.digits)
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		quoted, err := json.Marshal(text)
		if err != nil {
			return nil, err
		}
		out = append(out, quoted...)
		out = append(out, ':')
		out = append(out, field...)
	}
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	if decoder.InputOffset() != int64(len(bytes.TrimRight(value, " \t\r\n"))) {
		return nil, errors.New("something stands behind the JSON object")
	}
	return append(out, '}'), nil
}

func (c conversion) convert(number float64, digits int) json.RawMessage {
	converted := (number*c.from.factor + c.from.zero - c.to.zero) / c.to.factor
	scale := math.Pow10(digits)
	rounded := math.Round(converted*scale) / scale
	return strconv.AppendFloat(nil, rounded+0, 'f', -1, 64)
}

func init() { millstream.Transform(transform) }

func main() {}
