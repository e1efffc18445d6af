import type { IncomingHttpHeaders } from 'node:http'
import { AwsError } from '../json.ts'
import {
  leaveOutEmpty,
  normalizeSwitches,
  requireForms,
  requireKind,
  requireKnown,
  requireQueueName,
  requireRedrivePolicy,
  requireSame,
} from './attributes.ts'
import { invalid, jsonType, missing, queryCode, serialization } from './errors.ts'
import { refusalOfBatch, scopeDeduplication } from './fifo.ts'
import { type Entry, type Input, isText, parseInput, refusalOf } from './messages.ts'
import type { Queue, SqsStore } from './queues.ts'
import { whyNotChanged, whyNotDeleted } from './receipts.ts'
import { addDigests, noteSystemAttributes, pickAttributes, type Received } from './system-attributes.ts'

/** What the emulator does not look at in the requests that it answers, and what it names otherwise than AWS. */

interface Request {
  headers: IncomingHttpHeaders
  body: unknown
}
interface Reply {
  header(name: string, value: string): Reply
  send(body: unknown): Reply
}
type Done = (error?: Error | null, body?: unknown) => void
interface Emulator {
  removeContentTypeParser(type: string): void
  addContentTypeParser(
    type: string,
    options: { parseAs: 'string' },
    parse: (request: Request, body: string, done: Done) => void,
  ): void
  addHook(name: 'preHandler', hook: (request: Request, reply: Reply, done: Done) => void): void
  addHook(
    name: 'preSerialization',
    hook: (request: Request, reply: Reply, answer: unknown, done: Done) => void,
  ): void
}
export interface Words {
  SqsError: { prototype: object }
  INVALID_MESSAGE_BODY_CHAR: RegExp
  SETTABLE_ATTRIBUTES: Set<string>
  md5OfMessageAttributes: (attributes: object) => string
}

interface Failed {
  Id: string
  SenderFault: true
  Code: string
  Message: string
}

const JSON_1_0 = 'application/x-amz-json-1.0'
const operationOf = ({ headers }: Request): string | undefined =>
  /^AmazonSQS\.(\w+)$/.exec(headers['x-amz-target']?.toString() ?? '')?.[1]

export function checkMessages(app: Emulator, store: SqsStore, words: Words): void {
  amend(words)
  const failures = new WeakMap<Request, Failed[]>()
  /** The names of the attributes that a receive wants. */
  const asked = new WeakMap<Request, { own: string[]; system: string[] }>()
  app.removeContentTypeParser(JSON_1_0)
  app.addContentTypeParser(JSON_1_0, { parseAs: 'string' }, (_request, body, done) => {
    try {
      done(null, JSON.parse(body || '{}'))
    } catch {
      done(serialization('The request body is not JSON.'))
    }
  })
  app.addHook('preHandler', (request, reply, done) => {
    const operation = operationOf(request)
    if (operation === undefined) return done()
    try {
      const input = parseInput(request.body)
      if (operation === 'ReceiveMessage') {
        const { AttributeNames = [], MessageSystemAttributeNames = [] } = input
        asked.set(request, {
          own: input.MessageAttributeNames ?? [],
          system: [...AttributeNames, ...MessageSystemAttributeNames],
        })
        input.MessageAttributeNames = ['All']
      }
      if (operation === 'GetQueueAttributes') input.AttributeNames ??= []
      request.body = input
      check(operation, input, store)
      if (operation === 'CreateQueue' || operation === 'GetQueueUrl')
        moveToRegion(request.headers, store.getQueueByName(input.QueueName ?? ''))
      const failed = takeFailed(operation, input, store)
      failures.set(request, failed)
      noteSent(operation, request.headers, input, store)
      if (failed.length > 0 && input.Entries?.length === 0)
        reply.header('content-type', JSON_1_0).send({ Successful: [], Failed: [] })
      else done()
    } catch (error) {
      done(error as Error)
    }
  })
  app.addHook('preSerialization', (request, _reply, answer, done) => {
    const failed = failures.get(request) ?? []
    if (failed.length > 0) (answer as { Failed?: Failed[] }).Failed?.push(...failed)
    const names = asked.get(request)
    const { Messages = [] } = answer as { Messages?: Received[] }
    if (operationOf(request) === 'GetQueueAttributes')
      leaveOutEmpty(answer as { Attributes?: Record<string, string> })
    const digest = words.md5OfMessageAttributes
    if (names !== undefined) for (const message of Messages) pickAttributes(message, names, digest)
    if (operationOf(request)?.startsWith('SendMessage'))
      addDigests(request.body as Input, answer as object, digest)
    done(null, answer)
  })
}

const queueOf = ({ QueueUrl }: Input, store: SqsStore): Queue | undefined =>
  QueueUrl === undefined ? undefined : store.getQueue(QueueUrl)

/** A caller that is traced names its trace in a header, too. */
function noteSent(operation: string, headers: IncomingHttpHeaders, input: Input, store: SqsStore): void {
  const entries =
    operation === 'SendMessage' ? [input] : operation === 'SendMessageBatch' ? (input.Entries ?? []) : []
  const queue = queueOf(input, store)
  const trace = headers['x-amzn-trace-id']?.toString()
  for (const entry of entries) {
    if (queue !== undefined) scopeDeduplication(entry, queue)
    noteSystemAttributes(entry, trace)
  }
}

/** Its errors have one prefix in a header that clients go by, and its messages no character of more than 16 bits. */
function amend({ SqsError, INVALID_MESSAGE_BODY_CHAR, SETTABLE_ATTRIBUTES }: Words): void {
  for (const name of ['DeduplicationScope', 'FifoThroughputLimit']) SETTABLE_ATTRIBUTES.add(name)
  Object.defineProperties(SqsError.prototype, {
    queryErrorHeader: {
      configurable: true,
      get(this: SqsError) {
        return `${queryCode(this.code)};${this.senderFault ? 'Sender' : 'Receiver'}`
      },
    },
    toJSON: {
      configurable: true,
      value(this: SqsError) {
        return { __type: `com.amazonaws.sqs#${jsonType(this.code)}`, message: this.message }
      },
    },
  })
  Object.assign(INVALID_MESSAGE_BODY_CHAR, { test: (body: string) => !isText(body) })
}
interface SqsError extends Error {
  code: string
  senderFault: boolean
}

/**
 * A name is that of one queue here, for callers of all regions: the emulator would put a queue of another region in its
 * place at its URL, without the messages.
 */
function moveToRegion(headers: IncomingHttpHeaders, named: Queue | undefined): void {
  const region = named?.arn.split(':')[3]
  if (region === undefined) return
  headers.authorization = `AWS4-HMAC-SHA256 Credential=caller/20000101/${region}/sqs/aws4_request`
}

const MOST_ENTRIES = 10

/** @throws AwsError for what the emulator would take */
function check(operation: string, input: Input, store: SqsStore): void {
  const { QueueName = '', Attributes = {}, MaxResults = 1, ReceiptHandle } = input
  const queue = queueOf(input, store)
  normalizeSwitches(Attributes)
  const isFifo = Attributes['FifoQueue'] === 'true'
  if (operation === 'CreateQueue') requireQueueName(QueueName, isFifo)
  if (operation === 'CreateQueue' || operation === 'SetQueueAttributes') {
    requireKnown(Object.keys(Attributes), 'given')
    const isOfFifo = queue?.isFifo() ?? isFifo
    requireKind(Object.keys(Attributes), isOfFifo)
    requireForms(Attributes)
    if (queue?.isFifo() && Attributes['FifoQueue'] === 'false')
      throw new AwsError(
        'InvalidAttributeValue',
        'Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported.',
      )
    requireRedrivePolicy(Attributes['RedrivePolicy'], isOfFifo, (arn) => store.getQueueByArn(arn))
  }
  const named = operation === 'CreateQueue' ? store.getQueueByName(QueueName) : undefined
  if (named !== undefined) requireSame(Attributes, named)
  if (operation === 'GetQueueAttributes') requireKnown(input.AttributeNames ?? [], 'told')
  if (operation === 'ListQueues' && !(Number.isInteger(MaxResults) && MaxResults >= 1 && MaxResults <= 1_000))
    throw invalid(
      `Value ${MaxResults} for parameter MaxResults is invalid. Reason: Must be between 1 and 1000.`,
    )
  const entries = input.Entries?.length ?? 0
  if (entries > MOST_ENTRIES)
    throw new AwsError(
      'TooManyEntriesInBatchRequest',
      `Maximum number of entries per request are ${MOST_ENTRIES}. You have sent ${entries}.`,
    )
  const wrong = input.Entries?.find(({ Id = '' }) => !/^[\w-]{1,80}$/.test(Id))
  if (wrong !== undefined)
    throw new AwsError(
      'InvalidBatchEntryId',
      'A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.',
    )
  // The emulator counts messages as the last receive has left them.
  if (operation === 'GetQueueAttributes') queue?.processTimers()
  if (queue !== undefined && ReceiptHandle !== undefined && ReceiptHandle !== '' && !isHandle(ReceiptHandle))
    throw noHandle(ReceiptHandle)
  const refusal = queue && WHOLE.get(operation)?.(input, queue)
  if (refusal) throw refusal
}

/** Those that the emulator gives. */
const isHandle = (handle: string): boolean => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(handle)

const noHandle = (handle: string): AwsError =>
  new AwsError(
    'ReceiptHandleIsInvalid',
    `The input receipt handle "${handle}" is not a valid receipt handle.`,
    404,
  )

/** Why the emulator is not to be given a request that it would take, or name another reason for. */
const WHOLE = new Map<string, (input: Input, queue: Queue) => AwsError | undefined>([
  ['SendMessage', (input, queue) => refusalOf(input, queue.isFifo())],
  ['SendMessageBatch', ({ Entries = [] }, queue) => refusalOfBatch(Entries, queue)],
  ['DeleteMessage', ({ ReceiptHandle = '' }, queue) => whyNotDeleted(queue, ReceiptHandle)],
  [
    'ChangeMessageVisibility',
    ({ ReceiptHandle }, queue) => (ReceiptHandle ? whyNotChanged(queue, ReceiptHandle) : undefined),
  ],
])

/** Likewise an entry of a batch. */
const REFUSALS = new Map<string, (entry: Entry, queue: Queue) => AwsError | undefined>([
  ['SendMessageBatch', (entry, queue) => refusalOf(entry, queue.isFifo())],
  [
    'DeleteMessageBatch',
    ({ ReceiptHandle = '' }, queue) =>
      isHandle(ReceiptHandle) ? whyNotDeleted(queue, ReceiptHandle) : noHandle(ReceiptHandle),
  ],
  [
    'ChangeMessageVisibilityBatch',
    ({ ReceiptHandle = '', VisibilityTimeout }, queue) => {
      if (!isHandle(ReceiptHandle)) return noHandle(ReceiptHandle)
      // The emulator would hide it for ever.
      return VisibilityTimeout === undefined
        ? missing('VisibilityTimeout')
        : whyNotChanged(queue, ReceiptHandle)
    },
  ],
])

/** Leaves the emulator the entries that it can do. */
function takeFailed(operation: string, input: Input, store: SqsStore): Failed[] {
  const queue = queueOf(input, store)
  const { Entries: entries = [] } = input
  const refuse = REFUSALS.get(operation)
  const isBatch =
    entries.length <= MOST_ENTRIES && new Set(entries.map(({ Id }) => Id)).size === entries.length
  if (refuse === undefined || queue === undefined || !isBatch) return []
  const failed: Failed[] = []
  const taken: Entry[] = []
  for (const entry of entries) {
    const refusal = refuse(entry, queue)
    if (refusal === undefined) taken.push(entry)
    else
      failed.push({
        Id: entry.Id ?? '',
        SenderFault: true,
        Code: queryCode(refusal.name),
        Message: refusal.message,
      })
  }
  input.Entries = taken
  return failed
}
