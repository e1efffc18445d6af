import { AsyncLocalStorage } from 'node:async_hooks'
import { randomBytes } from 'node:crypto'
import {
  type Attributes,
  type Context,
  type ContextManager,
  type Link,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  type SpanOptions,
  SpanStatusCode,
  type TextMapPropagator,
  type Tracer,
  type TracerProvider,
  trace,
} from '@opentelemetry/api'

/** The least that an SDK is: it keeps in memory what has ended. */

export interface Ended {
  name: string
  kind: SpanOptions['kind']
  attributes: Attributes
  /** Ids of the spans that it links to. */
  links: string[]
  context: SpanContext
  parent: string | undefined
  failed: boolean
  errors: unknown[]
}

class MemoryTracer implements Tracer {
  readonly #ended: Ended[]
  constructor(ended: Ended[]) {
    this.#ended = ended
  }

  startSpan(name: string, options: SpanOptions = {}, context: Context = ROOT_CONTEXT): Span {
    const parent = trace.getSpanContext(context)
    const traceId = parent?.traceId ?? randomBytes(16).toString('hex')
    const spanContext = { traceId, spanId: randomBytes(8).toString('hex'), traceFlags: 1 }
    const kept: Ended = {
      ...{ name, kind: options.kind, attributes: { ...options.attributes }, links: [], errors: [] },
      ...{ context: spanContext, parent: parent?.spanId, failed: false },
    }
    const addLinks = (links: Link[]) => kept.links.push(...links.map(({ context }) => context.spanId))
    addLinks(options.links ?? [])
    const span: Span = {
      spanContext: () => spanContext,
      isRecording: () => true,
      // As it is by now: a span loses what comes after its end.
      end: () =>
        void this.#ended.push({ ...kept, attributes: { ...kept.attributes }, errors: [...kept.errors] }),
      recordException: (error) => void kept.errors.push(error),
      setStatus: ({ code }) => {
        kept.failed = code === SpanStatusCode.ERROR
        return span
      },
      setAttribute: (key, value) => {
        Object.assign(kept.attributes, { [key]: value })
        return span
      },
      setAttributes: () => span,
      addEvent: () => span,
      addLink: (link) => {
        addLinks([link])
        return span
      },
      addLinks: () => span,
      updateName: () => span,
    }
    return span
  }

  startActiveSpan(name: string, ...given: unknown[]): never {
    const work = given.at(-1) as (span: Span) => unknown
    const [options] = given as [SpanOptions]
    const current = contexts.active()
    const span = this.startSpan(name, options, current)
    return contexts.with(trace.setSpan(current, span), () => work(span)) as never
  }
}

const store = new AsyncLocalStorage<Context>()
const contexts: ContextManager = {
  active: () => store.getStore() ?? ROOT_CONTEXT,
  with: (context, run, self, ...args) => store.run(context, () => run.call(self as never, ...args)),
  bind: (_context, target) => target,
  enable: () => contexts,
  disable: () => contexts,
}

/** Of X-Ray's header, as far as a test has one. */
const propagator: TextMapPropagator = {
  inject: () => {},
  fields: () => [],
  extract: (context, carrier, getter) => {
    const name = getter.keys(carrier).find((key) => key.toLowerCase() === 'x-amzn-trace-id')
    const header = name === undefined ? '' : String(getter.get(carrier, name))
    const [, time, rest, spanId] =
      /Root=1-([0-9a-f]{8})-([0-9a-f]{24});Parent=([0-9a-f]{16})/.exec(header) ?? []
    if (spanId === undefined) return context
    return trace.setSpanContext(context, { traceId: `${time}${rest}`, spanId, traceFlags: 1, isRemote: true })
  },
}

/** Where each copy of the API finds what any other has registered (its `getGlobal`). */
const KEY = Symbol.for('opentelemetry.js.api.1')

/**
 * Registers it as a layer's own copy of the API would.
 *
 * @param version of that copy; only a copy that is no later uses what it has registered
 */
export function registerSpans(version: string): { ended: Ended[]; unregister: () => void } {
  const ended: Ended[] = []
  const provider: TracerProvider = { getTracer: () => new MemoryTracer(ended) }
  const all = globalThis as { [KEY]?: object }
  all[KEY] = { version, trace: provider, context: contexts, propagation: propagator }
  return { ended, unregister: () => void delete all[KEY] }
}
