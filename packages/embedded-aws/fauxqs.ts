import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { DATABASE, withMode } from './data-folder.ts'
import { answerError } from './emulator-errors.ts'
import { checkRequests } from './s3/emulator.ts'
import {
  announceObjects,
  type BucketSettings,
  type Caller,
  type CreatedObject,
  hideContentType,
  keepSettings,
  type NewObject,
  type S3Store,
  type StoredObject,
} from './s3/state.ts'
import { mendQueues } from './sqs/mends.ts'
import { deadLetterTarget, type Queue, type SqsStore } from './sqs/queues.ts'
import { checkMessages, type Words } from './sqs/requests.ts'
import type { Queues } from './sqs/state.ts'
import { attributesOnward, sourceOf } from './sqs/system-attributes.ts'
import { createStorage, MAX_OBJECT_BYTES, type Storage } from './storage.ts'

/** The S3 and SQS emulator as this project uses it. */
export interface FauxqsModules extends Queues {
  handle: (request: IncomingMessage, response: ServerResponse) => void
  /** Queue URLs name the endpoint of the run that made them; from now on they name this one. */
  moveTo: (endpoint: string) => void
  /** @throws Error if there is no such queue */
  send: (queueArn: string, body: string, attributes?: Record<string, string>) => void
  /** The bytes may be another reader's too, so they are not to be changed. */
  readObject: (bucket: string, key: string) => Uint8Array | undefined
  s3Store: S3Store
  hasBucket: (bucket: string) => boolean
  /** Stores what came by another way than the emulator's own. @throws Error with code NoSuchBucket */
  putObject: (object: NewObject, caller: Caller) => { etag: string }
  /** The listener's messages are kept with the object or, if the process is killed or it throws, neither is. */
  onObjectCreated: (listener: (object: CreatedObject) => void) => void
  bucketSettings: BucketSettings
  /** Makes everything in flight visible. @returns the bodies of all that is in the queue */
  recoverQueue: (name: string) => string[]
  /** Where all of it is kept, for more of the same kind. */
  storage: Storage
  close: () => Promise<void>
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
  const [
    { buildApp },
    { SqsStore },
    { SnsStore },
    { S3Store },
    { PersistenceManager },
    { decodeAwsChunked },
  ] = await Promise.all(
    ['app', 'sqs/sqsStore', 'sns/snsStore', 's3/s3Store', 'persistence', 's3/chunkedEncoding'].map((name) =>
      load(`${name}.js`),
    ),
  )
  const sqsStore: SqsStore = new SqsStore()
  const snsStore = new SnsStore()
  const s3Store: S3Store = new S3Store()
  setPageSize(folder)
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
  // node:sqlite writes NULL for an empty buffer that has been hashed or read, where the tables demand bytes.
  const { upsertObject, upsertMultipartPart } = persistence
  persistence.upsertObject = (bucket, object) => upsertObject.call(persistence, bucket, withBytes(object))
  persistence.upsertMultipartPart = (uploadId, part) =>
    upsertMultipartPart.call(persistence, uploadId, withBytes(part))
  // Its own version copies the body once more, and all that SQLite gives is a copy already.
  const selectBody = persistence.db.prepare('SELECT body FROM s3_objects WHERE bucket = ? AND key = ?')
  // A reader may share it with others: the worker and two operations of Rekognition read an object within a second.
  const inUse = new WeakMap<StoredObject, WeakRef<Buffer>>()
  persistence.readBody = (bucket, key) => {
    const object = s3Store.buckets.get(bucket)?.get(key)
    const known = object && inUse.get(object)?.deref()
    if (known !== undefined) return known
    const bytes = selectBody.get(bucket, key)?.['body']
    if (!(bytes instanceof Uint8Array)) throw new Error(`There is no object ${bucket}/${key}.`)
    const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    if (object !== undefined) inUse.set(object, new WeakRef(body))
    return body
  }

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
  const runFor = mendQueues(sqsStore, storage)
  // Loaded before the stores know where to write, or loading would write it all again.
  persistence.load(sqsStore, snsStore, s3Store)
  for (const store of [sqsStore, snsStore, s3Store, ...sqsStore.allQueues()]) store.persistence = guarded
  // Without a host of its own it names the one that the request was sent to.
  sqsStore.host = ''
  const app = buildApp({ logger: false, stores: { sqsStore, snsStore, s3Store } })
  // Its own parser takes 11 MiB.
  app.removeContentTypeParser('*')
  app.addContentTypeParser(
    '*',
    { parseAs: 'buffer', bodyLimit: MAX_OBJECT_BYTES },
    (_request: unknown, body: Buffer, done: (error: null, body: Buffer) => void) => done(null, body),
  )
  app.setErrorHandler(answerError)
  // By a hook, since Node reads a body in another context than that of its request.
  app.addHook('preHandler', (_request: unknown, reply: { raw: ServerResponse }, done: () => void) =>
    runFor(reply.raw, done),
  )
  let onCreated: (object: CreatedObject) => void = () => {}
  const announceCreated = announceObjects(app, s3Store, atomically, (object) => onCreated(object))
  checkRequests(app, s3Store, decodeAwsChunked)
  const words: Words = Object.assign(
    {},
    ...(await Promise.all(['common/errors.js', 'common/md5.js', 'sqs/sqsTypes.js'].map(load))),
  )
  checkMessages(app, sqsStore, words)
  await app.ready()

  const enqueue = (queue: Queue, body: string, attributes: object, group?: string): void =>
    queue.enqueue(SqsStore.createMessage(body, attributes, Number(queue.attributes.DelaySeconds), group))
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
    s3Store,
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
    deadLetterSourceUrls: (url) => {
      const queue = sqsStore.getQueue(url)
      return queue && sourcesOf(queue.arn).map((source) => source.url)
    },
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
      // For what was sent here directly, the one queue that it can have come from has to do.
      const destination = toArn ?? sourceOf(message) ?? (sources.length === 1 ? sources[0]?.arn : undefined)
      if (destination === undefined) return 'CouldNotDetermineMessageSource'
      const to = sqsStore.getQueueByArn(destination)
      if (to === undefined) return 'AWS.SimpleQueueService.NonExistentQueue'
      atomically(() => {
        enqueue(to, message.body, attributesOnward(message), message.messageGroupId)
        guarded.deleteMessage(message.messageId)
      })
      from.messages.shift()
      return 'moved'
    },
    recoverQueue: (name) => {
      const queue = sqsStore.getQueueByName(name)
      if (queue === undefined) return []
      for (const handle of [...queue.inflightMessages.keys()]) queue.changeVisibility(handle, 0)
      return [...queue.messages, ...queue.delayedMessages].map(({ body }) => body)
    },
    storage,
    close: async () => {
      await app.close()
      persistence.close()
    },
  }
}

/**
 * Bytes of a page of the database. In pages of 4,096 bytes, SQLite's own choice, an original of 2 MB took five times as
 * long to write and twice as long to read, and a record of 1.5 KB no less.
 */
const PAGE_BYTES = 16_384

/** Only an empty file takes it: a folder of an earlier version keeps its own. */
function setPageSize(folder: string): void {
  const database = new DatabaseSync(withMode(join(folder, DATABASE)))
  database.exec(`PRAGMA page_size = ${PAGE_BYTES}; PRAGMA journal_mode = WAL`)
  database.close()
}

const NO_BYTES = Buffer.from(new ArrayBuffer(1), 0, 0)
const withBytes = <T extends { body: Buffer }>(stored: T): T =>
  stored.body.length === 0 ? { ...stored, body: NO_BYTES } : stored

interface Persistence {
  db: DatabaseSync
  transaction: <T>(work: () => T) => T
  updateMessageReady: (messageId: string) => unknown
  deleteMessage: (messageId: string) => void
  upsertObject: (bucket: string, object: { body: Buffer }) => void
  upsertMultipartPart: (uploadId: string, part: { body: Buffer }) => void
  readBody: (bucket: string, key: string) => Buffer
  load: (...stores: object[]) => void
  loadSqsMessages: (queue: Queue) => void
  loadS3: (store: S3Store) => void
  close: () => void
}
