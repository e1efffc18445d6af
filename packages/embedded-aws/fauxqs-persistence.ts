import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { DATABASE, withMode } from './data-folder.ts'
import type { S3Store, StoredObject } from './s3/state.ts'
import { CLOCK_STEP_MS, type Queue, type SqsStore } from './sqs/queues.ts'
import type { Storage } from './storage.ts'

/** How fauxqs keeps what it has in memory, and what is mended of that here. */

export interface Stores {
  sqsStore: SqsStore
  snsStore: { persistence: unknown }
  s3Store: S3Store
}

interface TaggedQueue {
  name: string
  tags: Map<string, string>
}

export interface Persistence {
  db: DatabaseSync
  transaction: <T>(work: () => T) => T
  insertQueue: (queue: TaggedQueue) => void
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

/** @param durable whether what is written outlasts a power cut */
export function openPersistence(
  PersistenceManager: new (folder: string) => Persistence,
  folder: string,
  durable: boolean,
): Persistence {
  setPageSize(folder)
  const persistence = new PersistenceManager(folder)
  // In a write-ahead log FULL is what outlasts a power cut. Only macOS knows more than one way to wait for a disk.
  persistence.db.exec(
    durable ? 'PRAGMA synchronous = FULL; PRAGMA fullfsync = ON' : 'PRAGMA synchronous = OFF',
  )
  return persistence
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

export function mendPersistence(persistence: Persistence, store: S3Store): void {
  keepMessages(persistence)
  keepReceiveCounts(persistence)
  keepEmptyBodies(persistence)
  shareBodies(persistence, store)
}

/** To change tags, its own version puts a queue in the place of the one that is there, with which the messages would go. */
function keepMessages(persistence: Persistence): void {
  const { insertQueue } = persistence
  const setTags = persistence.db.prepare('UPDATE sqs_queues SET tags = ? WHERE name = ?')
  persistence.insertQueue = (queue) => {
    const { changes } = setTags.run(JSON.stringify(Object.fromEntries(queue.tags)), queue.name)
    if (changes === 0) insertQueue.call(persistence, queue)
  }
}

/**
 * Its own version sets the receive count, which the table demands, to NULL; so a message that becomes visible again by
 * ChangeMessageVisibility would answer with a 500, and be lost to a restart.
 */
function keepReceiveCounts(persistence: Persistence): void {
  const makeReady = persistence.db.prepare(
    'UPDATE sqs_messages SET receipt_handle = NULL, visibility_deadline = NULL WHERE message_id = ?',
  )
  persistence.updateMessageReady = (messageId) => makeReady.run(messageId)
}

/** node:sqlite writes NULL for an empty buffer that has been hashed or read, where the tables demand bytes. */
function keepEmptyBodies(persistence: Persistence): void {
  const { upsertObject, upsertMultipartPart } = persistence
  persistence.upsertObject = (bucket, object) => upsertObject.call(persistence, bucket, withBytes(object))
  persistence.upsertMultipartPart = (uploadId, part) =>
    upsertMultipartPart.call(persistence, uploadId, withBytes(part))
}

const NO_BYTES = Buffer.from(new ArrayBuffer(1), 0, 0)
const withBytes = <T extends { body: Buffer }>(stored: T): T =>
  stored.body.length === 0 ? { ...stored, body: NO_BYTES } : stored

/**
 * Its own version copies the body once more, and all that SQLite gives is a copy already. A reader may share it with
 * others: the worker and two operations of Rekognition read an object within a second.
 */
function shareBodies(persistence: Persistence, store: S3Store): void {
  const selectBody = persistence.db.prepare('SELECT body FROM s3_objects WHERE bucket = ? AND key = ?')
  const inUse = new WeakMap<StoredObject, WeakRef<Buffer>>()
  persistence.readBody = (bucket, key) => {
    const object = store.buckets.get(bucket)?.get(key)
    const known = object && inUse.get(object)?.deref()
    if (known !== undefined) return known
    const bytes = selectBody.get(bucket, key)?.['body']
    if (!(bytes instanceof Uint8Array)) throw new Error(`There is no object ${bucket}/${key}.`)
    const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    if (object !== undefined) inUse.set(object, new WeakRef(body))
    return body
  }
}

/** All that it does goes through the storage: an error of the disk is DiskFull, and a transaction may have others within. */
export function guardPersistence(persistence: Persistence, { atomically, guard }: Storage): Persistence {
  // Its own transactions end with an error inside another one.
  persistence.transaction = atomically
  return new Proxy(persistence, {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name)
      return typeof member === 'function'
        ? (...parameters: unknown[]) => guard(() => Reflect.apply(member, target, parameters))
        : member
    },
  })
}

/**
 * Messages are hidden until a time of the wall clock. Where that was set back since the last start, the newest message is of
 * the future: all times are set back by as much as it is, or a message that is hidden for seconds could stay so for days.
 */
function followClockSetBack({ db }: Persistence): void {
  const now = Date.now()
  const newest = db
    .prepare(
      'SELECT max(max(sent_timestamp, coalesce(approximate_first_receive_timestamp, 0))) AS at FROM sqs_messages',
    )
    .get()
  const ahead = Number(newest?.['at'] ?? now) - now
  if (ahead < CLOCK_STEP_MS) return
  db.prepare(
    `UPDATE sqs_messages SET sent_timestamp = min(sent_timestamp, :now),
      approximate_first_receive_timestamp = min(approximate_first_receive_timestamp, :now),
      visibility_deadline = visibility_deadline - :ahead, delay_until = delay_until - :ahead`,
  ).run({ now, ahead })
}

/** Fills the stores, which write by the guarded persistence from then on. */
export function loadStores(persistence: Persistence, guarded: Persistence, stores: Stores): void {
  const { sqsStore, snsStore, s3Store } = stores
  followClockSetBack(persistence)
  // Loaded before the stores know where to write, or loading would write it all again.
  persistence.load(sqsStore, snsStore, s3Store)
  for (const store of [sqsStore, snsStore, s3Store, ...sqsStore.allQueues()]) store.persistence = guarded
}

/** Some operations change what is in memory before they write, so what could not be written is there until now. */
export function readAgain(
  persistence: Persistence,
  guarded: Persistence,
  { sqsStore, s3Store }: Stores,
): void {
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
