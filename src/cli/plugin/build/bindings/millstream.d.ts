// The contract between Millstream and a plugin (`wit/` of Millstream) for TypeScript. Written by
// `millstream plugin build`.

declare module "millstream:plugin/types@0.1.0" {
  /** One header of a message. */
  export interface Header {
    name: string;
    /** Kafka's null is `null` or `undefined`. */
    value?: Uint8Array | null;
  }

  /** One record of a topic. Kafka's null is `null` or `undefined`. */
  export interface Message {
    key?: Uint8Array | null;
    value?: Uint8Array | null;
    headers: Header[];
    /** Milliseconds since 1970. */
    timestampMs: bigint;
    /** Where it is to be written; by the key if it is left out. */
    partition?: number | null;
  }

  /** To be thrown: the message is at fault, or the plugin. */
  export type Error = { tag: "bad-message" | "failed"; val: string };
}

declare module "millstream:plugin/config@0.1.0" {
  /** The value of the step's configuration. */
  export function get(name: string): string | null | undefined;
}

declare module "millstream:plugin/logging@0.1.0" {
  export type Level = "debug" | "info" | "warn" | "error";
  /** Writes a line to the broker's log. */
  export function log(level: Level, text: string): void;
}

declare module "millstream:plugin/context@0.1.0" {
  export function pipeline(): string;
  export function step(): string;
  export function topic(): string;
  export function partition(): number;
  export function offset(): bigint;
}

/** What a filter exports under the name `filter`. */
interface Filter {
  keep(message: import("millstream:plugin/types@0.1.0").Message): boolean;
}

/** What a transformer exports under the name `transformer`. */
interface Transformer {
  transform(
    message: import("millstream:plugin/types@0.1.0").Message,
  ): import("millstream:plugin/types@0.1.0").Message[];
}

/** What a router exports under the name `router`. */
interface Router {
  route(message: import("millstream:plugin/types@0.1.0").Message): string[];
}

// QuickJS, which the plugin is put together with, has them; the language's own library does not.
declare function escape(text: string): string;
declare function unescape(text: string): string;
