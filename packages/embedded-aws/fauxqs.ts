import type { IncomingMessage, ServerResponse } from 'node:http'
import { answerError } from './emulator-errors.ts'
import {
  guardPersistence,
  loadStores,
  mendPersistence,
  openPersistence,
  type Persistence,
  readAgain,
  type Stores,
} from './fauxqs-persistence.ts'
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
} from './s3/state.ts'
import { mendQueues } from './sqs/mends.ts'
import { deadLetterTarget, type Message, type Queue, type SqsStore } from './sqs/queues.ts'
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
  const modules = await loadModules()
  const { SqsStore, SnsStore, S3Store, PersistenceManager } = modules
  const stores: Stores = {
    sqsStore: new SqsStore(),
    snsStore: new SnsStore(),
    s3Store: new S3Store(),
  }
  const { sqsStore, s3Store } = stores
  const persistence = openPersistence(PersistenceManager, folder, durable)
  mendPersistence(persistence, s3Store)
  const storage = createStorage(folder, persistence.db, () => readAgain(persistence, guarded, stores), onDisk)
  const guarded = guardPersistence(persistence, storage)
  const runFor = mendQueues(sqsStore, storage)
  loadStores(persistence, guarded, stores)
  // Without a host of its own it names the one that the request was sent to.
  sqsStore.host = ''
  let onCreated: (object: CreatedObject) => void = () => {}
  const app = buildServer(modules, stores, runFor)
  const announceCreated = announceObjects(app, s3Store, storage.atomically, (object) => onCreated(object))
  checkRequests(app, s3Store, modules.decodeAwsChunked)
  checkMessages(app, sqsStore, modules.words)
  await app.ready()

  return {
    handle: (request, response) => {
      if (request.method === 'PUT') hideContentType(request)
      app.routing(request, response)
    },
    ...queuesOf(sqsStore, SqsStore.createMessage, guarded, storage),
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
    storage,
    close: async () => {
      await app.close()
      persistence.close()
    },
  }
}

/** The parts of the library, which has no door of its own for them. */
async function loadModules() {
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
  const words: Words = Object.assign(
    {},
    ...(await Promise.all(['common/errors.js', 'common/md5.js', 'sqs/sqsTypes.js'].map(load))),
  )
  return { buildApp, SqsStore, SnsStore, S3Store, PersistenceManager, decodeAwsChunked, words }
}

type Modules = Awaited<ReturnType<typeof loadModules>>

/** @param runFor does the rest of a request that is answered by this response */
function buildServer(
  { buildApp }: Modules,
  stores: Stores,
  runFor: (response: ServerResponse, work: () => void) => void,
) {
  const app = buildApp({ logger: false, stores })
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
  return app
}

/** What is asked of the queues by other ways than the emulator's own. */
function queuesOf(
  sqsStore: SqsStore,
  createMessage: (body: string, attributes: object, delaySeconds: number, group?: string) => Message,
  persistence: Persistence,
  { atomically }: Storage,
): Queues & Pick<FauxqsModules, 'moveTo' | 'send' | 'recoverQueue'> {
  const enqueue = (queue: Queue, body: string, attributes: object, group?: string): void =>
    queue.enqueue(createMessage(body, attributes, Number(queue.attributes.DelaySeconds), group))
  const sourcesOf = (arn: string): Queue[] =>
    [...sqsStore.allQueues()].filter((queue) => deadLetterTarget(queue) === arn)

  return {
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
        persistence.deleteMessage(message.messageId)
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
  }
}
