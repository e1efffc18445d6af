import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { DatabaseSync } from 'node:sqlite'
import { errorDocument, S3Error } from './s3/errors.ts'
import { createStorage, DiskFull, type Storage } from './storage.ts'

/** Who asked for something, as S3's events and answers name it. */
export interface Caller {
  requestId: string
  sourceIp: string
}
export const newRequestId = (): string => randomBytes(8).toString('hex').toUpperCase()

export interface NewObject {
  bucket: string
  key: string
  body: Buffer
  contentType: string
  /** User metadata, by names without `x-amz-meta-`. */
  metadata: Record<string, string>
  system: { contentDisposition?: string; contentEncoding?: string; cacheControl?: string }
}

/** An object that has just come to be, however it did; the names are those of S3's `s3:ObjectCreated:` events. */
export interface CreatedObject extends Caller {
  how: 'Put' | 'Post' | 'Copy' | 'CompleteMultipartUpload'
  bucket: string
  key: string
  size: number
  /** With its quotation marks. */
  etag: string
}

/** How moving one message went. The last two are the failure reasons that SQS gives for its move tasks. */
export type Moved =
  | 'moved'
  | 'nothing to move'
  | 'AWS.SimpleQueueService.NonExistentQueue'
  | 'CouldNotDetermineMessageSource'

/** The S3 and SQS emulator as this project uses it. */
export interface FauxqsModules {
  handle: (request: IncomingMessage, response: ServerResponse) => void
  /** Queue URLs name the endpoint of the run that made them; from now on they name this one. */
  moveTo: (endpoint: string) => void
  /** @throws Error if there is no such queue */
  send: (queueArn: string, body: string, attributes?: Record<string, string>) => void
  readObject: (bucket: string, key: string) => Uint8Array | undefined
  /** @param key as it stands in a URL */
  hasObject: (bucket: string, key: string) => boolean
  hasBucket: (bucket: string) => boolean
  /** Stores what came by another way than the emulator's own. @throws Error with code NoSuchBucket */
  putObject: (object: NewObject, caller: Caller) => { etag: string }
  /** The listener's messages are kept with the object or, if the process is killed or it throws, neither is. */
  onObjectCreated: (listener: (object: CreatedObject) => void) => void
  /** JSON that is kept with a bucket, under a name, for as long as the bucket is there. */
  bucketSettings: {
    get: (bucket: string, name: string) => unknown
    put: (bucket: string, name: string, value: unknown) => void
    delete: (bucket: string, name: string) => void
  }
  hasQueue: (queueArn: string) => boolean
  /** ARNs of the queues whose RedrivePolicy names this one. */
  deadLetterSources: (queueArn: string) => string[]
  visibleMessages: (queueArn: string) => number
  /**
   * Moves the oldest visible message, which becomes a new one.
   * @param toArn without it, the queue from which the message came here as a dead letter
   */
  moveMessage: (fromArn: string, toArn: string | undefined) => Moved
  /** Makes everything in flight visible. */
  recoverQueue: (name: string) => void
  /** Where all of it is kept, for more of the same kind. */
  storage: Storage
  close: () => Promise<void>
}

interface Message {
  messageId: string
  body: string
  messageAttributes: object
  delayUntil?: number
}
interface Queue {
  name: string
  url: string
  arn: string
  attributes: { DelaySeconds: string; RedrivePolicy?: string }
  messages: Message[]
  delayedMessages: Message[]
  inflightMessages: Map<string, { message: Message; visibilityDeadline: number }>
  fifoMessages: Map<string, Message[]>
  fifoDelayed: Map<string, Message[]>
  fifoLockedGroups: Map<string, number>
  persistence: unknown
  enqueue(message: Message): void
  dequeue(
    count: number,
    visibilityTimeout: number | undefined,
    deadLetterQueue: (arn: string) => Pick<Queue, 'enqueue'> | undefined,
  ): object[]
  /** Makes visible what is due. */
  processTimers(): void
  changeVisibility(receiptHandle: string, seconds: number): void
}
interface SqsStore {
  host: string
  queues: Map<string, Queue>
  persistence: unknown
  createQueue(...definition: unknown[]): Queue
  allQueues(): Iterable<Queue>
  getQueueByArn(arn: string): Queue | undefined
  getQueueByName(name: string): Queue | undefined
}
interface StoredObject {
  key: string
  body: Uint8Array
  contentLength: number
  etag: string
}
interface S3Store {
  persistence: unknown
  buckets: Map<string, Map<string, unknown>>
  bucketCreationDates: Map<string, Date>
  bucketTypes: Map<string, string>
  bucketLifecycleConfigurations: Map<string, unknown>
  multipartUploads: Map<string, { bucket: string }>
  multipartUploadsByBucket: Map<string, Set<string>>
  getObject(bucket: string, key: string): StoredObject
  putObject(bucket: string, ...object: unknown[]): StoredObject
  completeMultipartUpload(uploadId: string, ...parts: unknown[]): StoredObject
}

/**
 * Puts the emulator together from its modules. Its own `startFauxqs` would listen on every interface of the machine,
 * and an unguarded S3 and SQS must not be there for the whole network.
 *
 * @param options.folder where its SQLite file is kept
 * @param options.durable whether what is written outlasts a power cut
 * @param options.onDisk hears a sentence when the disk is full, and when it no longer is
 */
export async function loadFauxqs(options: {
  folder: string
  durable?: boolean
  onDisk?: (sentence: string) => void
}): Promise<FauxqsModules> {
  const { folder, durable = false, onDisk = () => {} } = options
  const load = (module: string) => import(new URL(module, import.meta.resolve('fauxqs')).href)
  const [{ buildApp }, { SqsStore }, { SnsStore }, { S3Store }, { PersistenceManager }] = await Promise.all(
    ['app.js', 'sqs/sqsStore.js', 'sns/snsStore.js', 's3/s3Store.js', 'persistence.js'].map(load),
  )
  const sqsStore: SqsStore = new SqsStore()
  const snsStore = new SnsStore()
  const s3Store: S3Store = new S3Store()
  const persistence: Persistence = new PersistenceManager(folder)
  // In a write-ahead log FULL is what outlasts a power cut. Only macOS knows more than one way to wait for a disk.
  persistence.db.exec(
    durable ? 'PRAGMA synchronous = FULL; PRAGMA fullfsync = ON' : 'PRAGMA synchronous = OFF',
  )
  // Its own version sets the receive count, which the table demands, to NULL; so a message that becomes visible
  // again by ChangeMessageVisibility would answer with a 500, and be lost to a restart.
  const makeReady = persistence.db.prepare(
    'UPDATE sqs_messages SET receipt_handle = NULL, visibility_deadline = NULL WHERE message_id = ?',
  )
  persistence.updateMessageReady = (messageId) => makeReady.run(messageId)

  /** Some operations change what is in memory before they write, so what could not be written is there until now. */
  const readAgain = (): void => {
    for (const queue of sqsStore.allQueues()) {
      for (const messages of [queue.messages, queue.delayedMessages]) messages.length = 0
      queue.inflightMessages.clear()
      for (const groups of [queue.fifoMessages, queue.fifoDelayed, queue.fifoLockedGroups]) groups.clear()
      persistence.loadSqsMessages(queue)
      // What could not settle them has let go of them.
      for (const handle of [...queue.inflightMessages.keys()]) queue.changeVisibility(handle, 0)
    }
    const { buckets, bucketCreationDates, bucketTypes, bucketLifecycleConfigurations } = s3Store
    const { multipartUploads, multipartUploadsByBucket } = s3Store
    for (const map of [buckets, bucketCreationDates, bucketTypes, bucketLifecycleConfigurations]) map.clear()
    for (const map of [multipartUploads, multipartUploadsByBucket]) map.clear()
    s3Store.persistence = undefined
    persistence.loadS3(s3Store)
    s3Store.persistence = guarded
  }
  const storage = createStorage(folder, persistence.db, readAgain, onDisk)
  const { atomically, guard } = storage
  // Its own transactions end with an error inside another one.
  persistence.transaction = atomically
  const guarded = new Proxy(persistence, {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name)
      return typeof member === 'function'
        ? (...parameters: unknown[]) => guard(() => Reflect.apply(member, target, parameters))
        : member
    },
  })
  const cameFrom = rememberSources(sqsStore, atomically)
  followClock(sqsStore)
  // Loaded before the stores know where to write, or loading would write it all again.
  persistence.load(sqsStore, snsStore, s3Store)
  for (const store of [sqsStore, snsStore, s3Store, ...sqsStore.allQueues()]) store.persistence = guarded
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
  app.setErrorHandler(answerTrouble)
  let onCreated: (object: CreatedObject) => void = () => {}
  const announceCreated = announceObjects(app, s3Store, atomically, (object) => onCreated(object))
  await app.ready()

  const enqueue = (queue: Queue, body: string, attributes: object = {}): void =>
    queue.enqueue(SqsStore.createMessage(body, attributes, Number(queue.attributes.DelaySeconds)))
  const sourcesOf = (arn: string): Queue[] =>
    [...sqsStore.allQueues()].filter((queue) => deadLetterTarget(queue) === arn)

  return {
    handle: (request, response) => {
      if (request.method === 'PUT') hideContentType(request)
      app.routing(request, response)
    },
    moveTo: (endpoint) => {
      for (const queue of [...sqsStore.allQueues()]) {
        sqsStore.queues.delete(queue.url)
        queue.url = `${endpoint}/${queue.url.split('/').slice(-2).join('/')}`
        sqsStore.queues.set(queue.url, queue)
      }
    },
    send: (queueArn, body, attributes = {}) => {
      const queue = sqsStore.getQueueByArn(queueArn)
      if (queue === undefined) throw new Error(`There is no queue ${queueArn}.`)
      enqueue(
        queue,
        body,
        Object.fromEntries(
          Object.entries(attributes).map(([name, StringValue]) => [
            name,
            { DataType: 'String', StringValue },
          ]),
        ),
      )
    },
    readObject: (bucket, key) =>
      s3Store.buckets.get(bucket)?.has(key) ? s3Store.getObject(bucket, key).body : undefined,
    hasObject: (bucket, key) => s3Store.buckets.get(bucket)?.has(decode(key)) ?? false,
    hasBucket: (bucket) => s3Store.buckets.has(bucket),
    putObject: ({ bucket, key, body, contentType, metadata, system }, caller) =>
      announceCreated({ how: 'Post', ...caller }, () =>
        s3Store.putObject(bucket, key, body, contentType, metadata, system),
      ),
    onObjectCreated: (listener) => {
      onCreated = listener
    },
    bucketSettings: keepSettings(storage),
    hasQueue: (arn) => sqsStore.getQueueByArn(arn) !== undefined,
    deadLetterSources: (arn) => sourcesOf(arn).map((queue) => queue.arn),
    visibleMessages: (arn) => {
      const queue = sqsStore.getQueueByArn(arn)
      queue?.processTimers()
      return queue?.messages.length ?? 0
    },
    moveMessage: (fromArn, toArn) => {
      const from = sqsStore.getQueueByArn(fromArn)
      if (from === undefined) return 'AWS.SimpleQueueService.NonExistentQueue'
      from.processTimers()
      const message = from.messages[0]
      if (message === undefined) return 'nothing to move'
      const sources = sourcesOf(fromArn)
      // After a restart, and for what was sent here directly, the one queue that it can have come from has to do.
      const destination =
        toArn ?? cameFrom.get(message) ?? (sources.length === 1 ? sources[0]?.arn : undefined)
      if (destination === undefined) return 'CouldNotDetermineMessageSource'
      const to = sqsStore.getQueueByArn(destination)
      if (to === undefined) return 'AWS.SimpleQueueService.NonExistentQueue'
      atomically(() => {
        enqueue(to, message.body, message.messageAttributes)
        guarded.deleteMessage(message.messageId)
      })
      from.messages.shift()
      return 'moved'
    },
    recoverQueue: (name) => {
      const queue = sqsStore.getQueueByName(name)
      if (queue === undefined) return
      for (const handle of [...queue.inflightMessages.keys()]) queue.changeVisibility(handle, 0)
    },
    storage,
    close: async () => {
      await app.close()
      persistence.close()
    },
  }
}

interface Persistence {
  db: DatabaseSync
  transaction: <T>(work: () => T) => T
  updateMessageReady: (messageId: string) => unknown
  deleteMessage: (messageId: string) => void
  load: (...stores: object[]) => void
  loadSqsMessages: (queue: Queue) => void
  loadS3: (store: S3Store) => void
  close: () => void
}

/** What the emulator has no answer for. */
function answerTrouble(
  error: unknown,
  request: { headers: IncomingMessage['headers'] },
  reply: Reply,
): unknown {
  if (!(error instanceof DiskFull)) return reply.send(error)
  const { name, message, status } = error
  if (request.headers['x-amz-target'] !== undefined)
    return reply
      .status(status)
      .header('content-type', 'application/x-amz-json-1.0')
      .header('x-amzn-query-error', `${name};Receiver`)
      .send(JSON.stringify({ __type: name, message }))
  return reply
    .status(status)
    .header('content-type', 'application/xml')
    .send(errorDocument(new S3Error(name, message, status), newRequestId()))
}

/**
 * From which queue each dead letter came; the emulator does not note it. Holds no message longer than the queues do.
 * It also takes a dead letter out of the one queue before it puts it into the other: killed in between, it lost it.
 */
function rememberSources(store: SqsStore, atomically: Storage['atomically']): WeakMap<Message, string> {
  const cameFrom = new WeakMap<Message, string>()
  const createQueue = store.createQueue.bind(store)
  store.createQueue = (...definition) => {
    const queue = createQueue(...definition)
    const dequeue = queue.dequeue.bind(queue)
    queue.dequeue = (count, visibilityTimeout, deadLetterQueue) => {
      const remembering = (arn: string) => {
        const target = deadLetterQueue(arn)
        const enqueue = (message: Message): void => {
          cameFrom.set(message, queue.arn)
          target?.enqueue(message)
        }
        return target && { enqueue }
      }
      return atomically(() => dequeue(count, visibilityTimeout, remembering))
    }
    return queue
  }
  return cameFrom
}

/** Milliseconds that the wall clock may gain or lose by itself before the queues follow it. */
const CLOCK_STEP_MS = 1_000

/**
 * The emulator hides messages until a time of the wall clock. Where that is set, these times are set with it: else a
 * message that is hidden for seconds could stay so for hours. Those in the database stay, since a start shows what was
 * in flight.
 */
function followClock(store: SqsStore): void {
  const offset = () => Date.now() - performance.now()
  let known = offset()
  const follow = (): void => {
    const step = offset() - known
    if (Math.abs(step) < CLOCK_STEP_MS) return
    known += step
    for (const { inflightMessages, delayedMessages } of store.allQueues()) {
      for (const inflight of inflightMessages.values()) inflight.visibilityDeadline += step
      for (const message of delayedMessages) if (message.delayUntil !== undefined) message.delayUntil += step
    }
  }
  const createQueue = store.createQueue.bind(store)
  store.createQueue = (...definition) => {
    const queue = createQueue(...definition)
    const { enqueue, changeVisibility, processTimers } = queue
    // The last is also what begins a receive.
    return Object.assign(queue, {
      enqueue: followed(enqueue),
      changeVisibility: followed(changeVisibility),
      processTimers: followed(processTimers),
    })
    function followed<P extends unknown[], R>(work: (...parameters: P) => R): (...parameters: P) => R {
      return (...parameters) => {
        follow()
        return work.apply(queue, parameters)
      }
    }
  }
}

function deadLetterTarget(queue: Queue): string | undefined {
  try {
    return JSON.parse(queue.attributes.RedrivePolicy ?? '{}')?.deadLetterTargetArn
  } catch {
    // The emulator takes any text for a RedrivePolicy.
    return undefined
  }
}

type Cause = Caller & Pick<CreatedObject, 'how'>

/**
 * Tells of every object that the store is given.
 *
 * @returns a function that stores an object for another cause than the request that the emulator is at
 */
function announceObjects(
  app: FastifyLike,
  store: S3Store,
  atomically: Storage['atomically'],
  announce: (object: CreatedObject) => void,
): (cause: Cause, store: () => StoredObject) => StoredObject {
  let cause: Cause
  // The emulator's handlers store what they store in the same tick as this hook: no other request comes in between.
  app.addHook('preHandler', (request, reply, done) => {
    showContentType(request.raw)
    const { 'x-amz-copy-source': source } = request.headers
    cause = { how: source === undefined ? 'Put' : 'Copy', requestId: newRequestId(), sourceIp: request.ip }
    reply.header('x-amz-request-id', cause.requestId).header('x-amz-id-2', cause.requestId)
    done()
  })

  const stored = (bucket: string, how: CreatedObject['how'], save: () => StoredObject): StoredObject =>
    atomically(() => {
      const object = save()
      announce({ ...cause, how, bucket, key: object.key, size: object.contentLength, etag: object.etag })
      return object
    })
  const putObject = store.putObject.bind(store)
  store.putObject = (bucket, ...object) => stored(bucket, cause.how, () => putObject(bucket, ...object))
  const complete = store.completeMultipartUpload.bind(store)
  store.completeMultipartUpload = (uploadId, ...parts) =>
    stored(store.multipartUploads.get(uploadId)?.bucket ?? '', 'CompleteMultipartUpload', () =>
      complete(uploadId, ...parts),
    )
  return (other, save) => {
    cause = other
    return save()
  }
}

interface Reply {
  header(name: string, value: string): Reply
  status(status: number): Reply
  send(body: unknown): Reply
}

interface FastifyLike {
  addHook(
    name: 'preHandler',
    hook: (
      request: { raw: IncomingMessage; headers: IncomingMessage['headers']; ip: string },
      reply: Reply,
      done: () => void,
    ) => void,
  ): void
}

const contentTypes = new WeakMap<IncomingMessage, string>()

/**
 * The content type of an object may be any text, but the emulator reads a body by it: with that of a web form or of
 * SQS it would parse the object, and with one that is none it would refuse it. So it learns of it after the body.
 */
function hideContentType(request: IncomingMessage): void {
  const contentType = request.headers['content-type']
  if (contentType === undefined) return
  contentTypes.set(request, contentType)
  request.headers['content-type'] = 'application/octet-stream'
}

function showContentType(request: IncomingMessage): void {
  const contentType = contentTypes.get(request)
  if (contentType !== undefined) request.headers['content-type'] = contentType
}

/** A table of its own in the emulator's database, so that a bucket's settings go with the bucket. */
function keepSettings({ database, guard }: Storage): FauxqsModules['bucketSettings'] {
  database.exec(`CREATE TABLE IF NOT EXISTS bucket_settings (
    bucket TEXT NOT NULL REFERENCES s3_buckets(name) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (bucket, name)
  )`)
  const select = database.prepare('SELECT value FROM bucket_settings WHERE bucket = ? AND name = ?')
  const replace = database.prepare(
    'INSERT OR REPLACE INTO bucket_settings (bucket, name, value) VALUES (?, ?, ?)',
  )
  const remove = database.prepare('DELETE FROM bucket_settings WHERE bucket = ? AND name = ?')
  return {
    get: (bucket, name) => {
      const row = select.get(bucket, name)
      return row === undefined ? undefined : JSON.parse(String(row['value']))
    },
    put: (bucket, name, value) => void guard(() => replace.run(bucket, name, JSON.stringify(value))),
    delete: (bucket, name) => void guard(() => remove.run(bucket, name)),
  }
}

function decode(key: string): string {
  try {
    return decodeURIComponent(key)
  } catch {
    return key
  }
}
