import type { Entry } from './messages.ts'
import { amendQueues, type SqsStore } from './queues.ts'

/** What the emulator does not keep of a message (MessageGroupId on a standard queue), and how it is asked for attributes. */

type Attributes = Record<string, unknown>
export interface Received {
  MessageAttributes?: Attributes
  MD5OfMessageAttributes?: string
}

/** By the attributes of a message that is on its way into a queue: the emulator hands this object on. */
const groups = new WeakMap<object, string>()

export function noteSystemAttributes(sent: Entry): void {
  sent.MessageAttributes ??= {}
  if (sent.MessageGroupId !== undefined) groups.set(sent.MessageAttributes, sent.MessageGroupId)
}

/** Before a message is stored, it gets what it was sent with. */
export function keepSystemAttributes(store: SqsStore): void {
  amendQueues(store, (queue) => {
    const { enqueue } = queue
    return {
      enqueue: (message) => {
        const group = groups.get(message.messageAttributes)
        if (group !== undefined) message.messageGroupId = group
        enqueue.call(queue, message)
      },
    }
  })
}

/** Leaves those that are asked for; their digest is of them alone. */
export function pickAttributes(
  message: Received,
  names: string[],
  { md5OfMessageAttributes }: { md5OfMessageAttributes: (attributes: object) => string },
): void {
  const isAsked = (attribute: string): boolean =>
    names.some((name) =>
      name.endsWith('*')
        ? attribute.startsWith(name.replace(/\.?\*$/, ''))
        : name === 'All' || name === attribute,
    )
  const all = Object.entries(message.MessageAttributes ?? {})
  const picked = all.filter(([name]) => isAsked(name))
  if (picked.length > 0 && picked.length === all.length) return
  delete message.MessageAttributes
  delete message.MD5OfMessageAttributes
  if (picked.length === 0) return
  message.MessageAttributes = Object.fromEntries(picked)
  message.MD5OfMessageAttributes = md5OfMessageAttributes(message.MessageAttributes)
}
