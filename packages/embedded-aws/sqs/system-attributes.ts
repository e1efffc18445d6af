import type { Entry } from './messages.ts'
import { amendQueues, type Message, type SqsStore } from './queues.ts'

/**
 * What the emulator does not keep of a message: MessageGroupId on a standard queue, AWSTraceHeader, and the queue that a dead
 * letter came from; and how it is asked for attributes.
 */

interface Value {
  DataType?: string | undefined
  StringValue?: string | undefined
}
type Attributes = Record<string, Value>
export interface Received {
  Attributes?: Record<string, string | undefined>
  MessageAttributes?: Attributes
  MD5OfMessageAttributes?: string
}
export type Digest = (attributes: object) => string

/** It keeps them with the message's own attributes, which cannot have a name that begins so. */
const PREFIX = 'AWS.'
const TRACE = 'AWSTraceHeader'
const SOURCE = 'DeadLetterQueueSourceArn'

const keep = (message: Message, name: string, StringValue: string): void => {
  message.messageAttributes = {
    ...message.messageAttributes,
    [`${PREFIX}${name}`]: { DataType: 'String', StringValue },
  }
}
const kept = ({ messageAttributes }: Message, name: string): string | undefined =>
  (messageAttributes as Attributes)[`${PREFIX}${name}`]?.StringValue
const own = (attributes: object): [string, Value][] =>
  Object.entries(attributes).filter(([name]) => !name.startsWith(PREFIX))

export const sourceOf = (message: Message): string | undefined => kept(message, SOURCE)
export const keepSource = (message: Message, queueArn: string): void => keep(message, SOURCE, queueArn)

/** By the attributes of a message that is on its way into a queue: the emulator hands this object on. */
const sent = new WeakMap<object, { group: string | undefined; trace: string | undefined }>()

/** @param traced what the request says of the trace that it is a part of */
export function noteSystemAttributes(entry: Entry, traced?: string): void {
  entry.MessageAttributes ??= {}
  sent.set(entry.MessageAttributes, {
    group: entry.MessageGroupId,
    trace: entry.MessageSystemAttributes?.[TRACE]?.StringValue ?? traced,
  })
}

/** The attributes of a message that is sent on as a new one. */
export function attributesOnward(message: Message): object {
  const attributes = Object.fromEntries(own(message.messageAttributes))
  sent.set(attributes, { group: message.messageGroupId, trace: kept(message, TRACE) })
  return attributes
}

/** Before a message is stored, it gets what it was sent with. */
export function keepSystemAttributes(store: SqsStore): void {
  amendQueues(store, (queue) => {
    const { enqueue } = queue
    return {
      enqueue: (message) => {
        const { group, trace } = sent.get(message.messageAttributes) ?? {}
        if (group !== undefined) message.messageGroupId = group
        if (trace !== undefined) keep(message, TRACE, trace)
        enqueue.call(queue, message)
      },
    }
  })
}

/** Leaves those that are asked for; the digest of a message's own is of them alone. */
export function pickAttributes(
  message: Received,
  asked: { own: string[]; system: string[] },
  digest: Digest,
): void {
  const given = message.MessageAttributes ?? {}
  for (const name of [TRACE, SOURCE]) {
    const value = given[`${PREFIX}${name}`]?.StringValue
    if (value !== undefined && (asked.system.includes(name) || asked.system.includes('All')))
      message.Attributes = { ...message.Attributes, [name]: value }
  }
  const isAsked = (attribute: string): boolean =>
    asked.own.some((name) =>
      name.endsWith('*')
        ? attribute.startsWith(name.replace(/\.?\*$/, ''))
        : name === 'All' || name === attribute,
    )
  const all = own(given)
  const picked = all.filter(([name]) => isAsked(name))
  delete message.MessageAttributes
  if (picked.length > 0) message.MessageAttributes = Object.fromEntries(picked)
  if (picked.length === all.length) return
  delete message.MD5OfMessageAttributes
  if (picked.length > 0) message.MD5OfMessageAttributes = digest(Object.fromEntries(picked))
}

interface Answer {
  MD5OfMessageSystemAttributes?: string
  Successful?: { Id: string; MD5OfMessageSystemAttributes?: string }[]
}

/** Of a message that was sent, or of those of a batch. */
export function addDigests(input: Entry & { Entries?: Entry[] | undefined }, answer: Answer, digest: Digest) {
  const digestOf = ({ MessageSystemAttributes: attributes = {} }: Entry) =>
    Object.keys(attributes).length > 0 ? { MD5OfMessageSystemAttributes: digest(attributes) } : {}
  if (input.Entries === undefined) Object.assign(answer, digestOf(input))
  for (const entry of input.Entries ?? []) {
    const success = answer.Successful?.find(({ Id }) => Id === entry.Id)
    if (success !== undefined) Object.assign(success, digestOf(entry))
  }
}
