import type { IncomingMessage, ServerResponse } from 'node:http'

/** The S3 and SQS emulator as this project uses it. */
export interface FauxqsModules {
  handle: (request: IncomingMessage, response: ServerResponse) => void
  /** Queue URLs name the endpoint of the run that made them; from now on they name this one. */
  moveTo: (endpoint: string) => void
  /** @throws Error if there is no such queue */
  send: (queueArn: string, body: string) => void
  readObject: (bucket: string, key: string) => Uint8Array | undefined
  /** @param key as it stands in a URL */
  hasObject: (bucket: string, key: string) => boolean
  /** Makes everything in flight visible; returns the bodies of all messages. */
  recoverQueue: (name: string) => string[]
  close: () => Promise<void>
}

interface Message {
  body: string
}
interface Queue {
  name: string
  url: string
  messages: Message[]
  delayedMessages: Message[]
  inflightMessages: Map<string, { message: Message }>
  persistence: unknown
  enqueue(message: Message): void
  changeVisibility(receiptHandle: string, seconds: number): void
}
interface SqsStore {
  host: string
  queues: Map<string, Queue>
  persistence: unknown
  allQueues(): Iterable<Queue>
  getQueueByArn(arn: string): Queue | undefined
  getQueueByName(name: string): Queue | undefined
}
interface S3Store {
  persistence: unknown
  buckets: Map<string, Map<string, unknown>>
  getObject(bucket: string, key: string): { body: Uint8Array }
}

/**
 * Puts the emulator together from its modules. Its own `startFauxqs` would listen on every interface of the machine,
 * and an unguarded S3 and SQS must not be there for the whole network.
 *
 * @param folder where its SQLite file is kept
 */
export async function loadFauxqs(folder: string): Promise<FauxqsModules> {
  const load = (module: string) => import(new URL(module, import.meta.resolve('fauxqs')).href)
  const [{ buildApp }, { SqsStore }, { SnsStore }, { S3Store }, { PersistenceManager }] = await Promise.all(
    ['app.js', 'sqs/sqsStore.js', 'sns/snsStore.js', 's3/s3Store.js', 'persistence.js'].map(load),
  )
  const sqsStore: SqsStore = new SqsStore()
  const snsStore = new SnsStore()
  const s3Store: S3Store = new S3Store()
  const persistence = new PersistenceManager(folder)
  // Its own version sets the receive count, which the table demands, to NULL; so a message that becomes visible
  // again by ChangeMessageVisibility would answer with a 500, and be lost to a restart.
  const makeReady = persistence.db.prepare(
    'UPDATE sqs_messages SET receipt_handle = NULL, visibility_deadline = NULL WHERE message_id = ?',
  )
  persistence.updateMessageReady = (messageId: string) => makeReady.run(messageId)
  // Loaded before the stores know where to write, or loading would write it all again.
  persistence.load(sqsStore, snsStore, s3Store)
  for (const store of [sqsStore, snsStore, s3Store, ...sqsStore.allQueues()]) store.persistence = persistence
  // Without a host of its own it names the one that the request was sent to.
  sqsStore.host = ''
  const app = buildApp({ logger: false, stores: { sqsStore, snsStore, s3Store } })
  // Its parser takes 11 MiB, S3 5 GB in one request; objects are kept in memory on their way, so 100 MB have to do.
  app.removeContentTypeParser('*')
  app.addContentTypeParser(
    '*',
    { parseAs: 'buffer', bodyLimit: 100_000_000 },
    (_request: unknown, body: Buffer, done: (error: null, body: Buffer) => void) => done(null, body),
  )
  await app.ready()

  return {
    handle: (request, response) => app.routing(request, response),
    moveTo: (endpoint) => {
      for (const queue of [...sqsStore.allQueues()]) {
        sqsStore.queues.delete(queue.url)
        queue.url = `${endpoint}/${queue.url.split('/').slice(-2).join('/')}`
        sqsStore.queues.set(queue.url, queue)
      }
    },
    send: (queueArn, body) => {
      const queue = sqsStore.getQueueByArn(queueArn)
      if (queue === undefined) throw new Error(`There is no queue ${queueArn}.`)
      queue.enqueue(SqsStore.createMessage(body))
    },
    readObject: (bucket, key) =>
      s3Store.buckets.get(bucket)?.has(key) ? s3Store.getObject(bucket, key).body : undefined,
    hasObject: (bucket, key) => s3Store.buckets.get(bucket)?.has(decode(key)) ?? false,
    recoverQueue: (name) => {
      const queue = sqsStore.getQueueByName(name)
      if (queue === undefined) return []
      for (const handle of [...queue.inflightMessages.keys()]) queue.changeVisibility(handle, 0)
      return [...queue.messages, ...queue.delayedMessages].map((message) => message.body)
    },
    close: async () => {
      await app.close()
      persistence.close()
    },
  }
}

function decode(key: string): string {
  try {
    return decodeURIComponent(key)
  } catch {
    return key
  }
}
