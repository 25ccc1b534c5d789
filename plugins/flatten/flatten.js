// A transformer for earthquakes: makes a flat JSON record of a GeoJSON feature. The feature's id
// becomes the record's key, the time of the earthquake its timestamp.
//
// Config: `digits` is the number of decimal digits that longitude, latitude and depth are rounded
// to, 0 to 10, default 2.

import config from "millstream:plugin/config@0.1.0";

// What some of the reporting networks write in a place instead of the name.
const ABBREVIATED = { CA: "California", MX: "Mexico", NV: "Nevada" };

const badMessage = (text) => ({ tag: "bad-message", val: text });
const failed = (text) => ({ tag: "failed", val: text });

export const transformer = {
  transform(message) {
    const feature = parse(message.value);
    const timestampMs = eventTime(feature);
    const record = flatten(feature, timestampMs, readDigits());
    return [
      {
        key: encode(record.id),
        value: encode(JSON.stringify(record)),
        headers: message.headers,
        timestampMs,
      },
    ];
  },
};

function parse(value) {
  if (value == null) throw badMessage("the record has no value, expected a GeoJSON feature");
  let feature;
  try {
    feature = JSON.parse(decode(value));
  } catch (error) {
    throw badMessage(`not JSON: ${error.message}`);
  }
  if (feature?.type !== "Feature") throw badMessage("not a GeoJSON feature");
  if (typeof feature.id !== "string") throw badMessage("a GeoJSON feature without an `id`");
  return feature;
}

function eventTime(feature) {
  const time = feature.properties?.time;
  if (!Number.isInteger(time) || Number.isNaN(new Date(time).getTime())) {
    throw badMessage("`properties.time` is not a time in milliseconds");
  }
  return time;
}

function flatten(feature, timestampMs, digits) {
  const { mag, magType, place, tsunami, felt, url } = feature.properties;
  const coordinates = feature.geometry?.coordinates;
  if (!Array.isArray(coordinates) || coordinates.length < 2) {
    throw badMessage("`geometry.coordinates` is not a list of longitude, latitude and depth");
  }
  if (!coordinates.every(Number.isFinite)) {
    throw badMessage("`geometry.coordinates` has something else than numbers in it");
  }
  const [longitude, latitude, depth] = coordinates;
  const round = (number) => Number(number.toFixed(digits));
  return {
    id: feature.id,
    time: new Date(timestampMs).toISOString(),
    magnitude: mag ?? null,
    magnitude_type: magType ?? null,
    place: place ?? null,
    region: place == null ? null : region(String(place)),
    longitude: round(longitude),
    latitude: round(latitude),
    depth_km: depth === undefined ? null : round(depth),
    tsunami: tsunami === 1,
    felt: felt ?? null,
    url: url ?? null,
  };
}

// "37km NNE of Amboy, Washington" is in Washington, "South of the Fiji Islands" where it says.
function region(place) {
  const last = place.slice(place.lastIndexOf(",") + 1).trim();
  return ABBREVIATED[last] ?? last;
}

// Read at the first record, not when the module is loaded: it is loaded when it is built.
let digits;

function readDigits() {
  if (digits === undefined) {
    const text = config.get("digits") ?? "2";
    if (!/^([0-9]|10)$/.test(text)) {
      throw failed(`config \`digits\` is ${JSON.stringify(text)}, expected 0 to 10`);
    }
    digits = Number(text);
  }
  return digits;
}

// The engine has no TextDecoder and no TextEncoder. `escape` and `unescape` see bytes in the lowest
// 256 characters, their partners see UTF-8; `decodeURIComponent` throws if it is not.
function decode(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode.apply(null, bytes.subarray(at, at + 4096));
  }
  return decodeURIComponent(escape(text));
}

function encode(text) {
  const bytes = unescape(encodeURIComponent(text));
  return Uint8Array.from(bytes, (byte) => byte.charCodeAt(0));
}
