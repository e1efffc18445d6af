import { randomUUID } from 'node:crypto'
import type { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import {
  InvalidImageFormatException,
  InvalidS3ObjectException,
  ProvisionedThroughputExceededException,
  type RekognitionClient,
} from '@aws-sdk/client-rekognition'
import { NoSuchKey, NotFound, type S3Client } from '@aws-sdk/client-s3'
import { ReceiptHandleIsInvalid, type SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import type { SQSRecord } from 'aws-lambda'
import type { PaidAnalysis } from '../../shared/image.ts'
import type { EventDetail } from '../../shared/messages.ts'
import type { DynamoModel } from './dynamo.ts'

const $metadata = {}

/** What can go wrong with one call. */
export const FAULTS = [
  /** It has no effect, and fails. */
  'fail',
  /** It takes effect, and its answer is lost. */
  'lost',
  /** It takes effect, its answer is lost, and the SDK sends it again. */
  'twice',
  /** It fails, and takes effect later. */
  'late',
  /** It takes effect, and its answer comes after all of the SDK's patience. */
  'slow',
  /** It takes effect, and its answer never comes. */
  'hang',
  /** The service has been asked too much. */
  'throttle',
  /** The service refuses it, as it does where a right is missing. */
  'refuse',
  /** The process ends before it is sent, or when its effect is there. */
  'death before',
  'death after',
  /** Every other entry fails, or a message is received by two. Elsewhere nothing happens. */
  'partial',
] as const
export type Fault = (typeof FAULTS)[number]

const DAY_MS = 86_400_000

/** One bucket of S3 in memory. */
export class S3Model {
  readonly objects = new Map<string, { bytes: Buffer; contentType: string; storedAt: number }>()
  readonly #now: () => number

  constructor(now: () => number) {
    this.#now = now
  }

  put({ Key, Body, ContentType }: { Key: string; Body: Uint8Array; ContentType: string }): object {
    this.objects.set(Key, { bytes: Buffer.from(Body), contentType: ContentType, storedAt: this.#now() })
    return {}
  }

  /** A rule of the bucket's lifecycle: at the midnight (UTC) after so many days. */
  expire(days: number): void {
    for (const [key, { storedAt }] of this.objects) {
      const until = Math.ceil((storedAt + days * DAY_MS) / DAY_MS) * DAY_MS
      if (until <= this.#now()) this.objects.delete(key)
    }
  }

  get({ Key }: { Key: string }): object {
    const object = this.objects.get(Key)
    if (object === undefined) throw new NoSuchKey({ message: 'The specified key does not exist.', $metadata })
    return {
      ContentType: object.contentType,
      ContentLength: object.bytes.length,
      Body: {
        async *[Symbol.asyncIterator]() {
          yield object.bytes
        },
        destroy: () => {},
        transformToString: async () => object.bytes.toString(),
      },
    }
  }

  head({ Key }: { Key: string }): object {
    const object = this.objects.get(Key)
    if (object === undefined) throw new NotFound({ message: 'NotFound', $metadata })
    return { ContentLength: object.bytes.length, ContentType: object.contentType }
  }

  delete({ Key }: { Key: string }): object {
    this.objects.delete(Key)
    return {}
  }
}

interface Message {
  id: string
  body: string
  /** How many invocations, each by a message of the one before, led to it: what Lambda reads from its trace header. */
  chain: number
  sentAt: number
  visibleAt: number
  receives: number
  firstReceivedAt: number
  receipt: string
  /** Of receives before. */
  oldReceipts: string[]
  /** It was deleted once, and a part of SQS has not heard of it. */
  isBack: boolean
  /** Whose it is, where it says so. */
  group: string | undefined
}

export interface SqsSettings {
  visibilityMs: number
  maxReceives: number
  /** For how long a message is kept. */
  queueKeepsMs: number
  /** Which part of the deleted messages comes back once more. */
  comesBack: number
  fairQueues: boolean
}

/** The longest after which a deleted message comes back. */
const BACK_MS = 2 * 3_600_000

export type Received = Omit<SQSRecord, 'eventSourceARN' | 'awsRegion' | 'md5OfBody'> & Pick<Message, 'chain'>

/**
 * A standard queue of SQS with its dead-letter queue: any order, visibility, receive count, retention, redrive; and what
 * was deleted may come back.
 */
export class SqsModel {
  messages: Message[] = []
  dead: Message[] = []
  /** Bodies of all messages that were ever sent to the dead-letter queue, and not moved there by SQS. */
  readonly sentDead: string[] = []
  /** How many SQS has moved there because they were received too often. */
  movedDead = 0
  /** The longest, in milliseconds, for which a worker has hidden a message. */
  longestHidden = 0
  /** How often the message was received that was received most often. */
  mostReceives = 0
  /** Called when a message is, or will be, there to be received. */
  wake: (at: number) => void = () => {}
  readonly #now: () => number
  readonly #random: () => number
  readonly #settings: SqsSettings

  constructor(now: () => number, random: () => number, settings: SqsSettings) {
    this.#now = now
    this.#random = random
    this.#settings = settings
  }

  send(
    {
      QueueUrl = 'jobs',
      MessageBody,
      MessageGroupId: group,
    }: { QueueUrl?: string; MessageBody: string; MessageGroupId?: string },
    chain = 0,
  ): object {
    const now = this.#now()
    const id = randomUUID()
    const message = {
      ...{ id, body: MessageBody, chain, sentAt: now, visibleAt: now },
      ...{ receives: 0, firstReceivedAt: 0, receipt: '', oldReceipts: [], isBack: false, group },
    }
    if (QueueUrl === 'jobs') {
      this.messages.push(message)
      this.wake(now)
    } else {
      this.dead.push(message)
      this.sentDead.push(MessageBody)
    }
    return { MessageId: id }
  }

  changeVisibility(input: { ReceiptHandle: string; VisibilityTimeout: number }): object {
    const message = this.messages.find(({ receipt }) => receipt === input.ReceiptHandle)
    if (message === undefined || message.visibleAt <= this.#now()) {
      throw new ReceiptHandleIsInvalid({ message: 'The receipt handle is not valid.', $metadata })
    }
    message.visibleAt = this.#now() + input.VisibilityTimeout * 1000
    this.longestHidden = Math.max(this.longestHidden, input.VisibilityTimeout * 1000)
    this.wake(message.visibleAt)
    return {}
  }

  /**
   * @param atMost 1 to 10
   * @param twice leaves what is received there for another receiver, as a standard queue may
   */
  receive(atMost: number, twice = false): Received[] {
    const now = this.#now()
    this.#forget()
    const visible = this.messages.filter((message) => message.visibleAt <= now)
    const received = []
    while (visible.length > 0 && received.length < atMost) {
      const next = this.#settings.fairQueues ? this.#fairest(visible) : visible
      const taken = next[Math.floor(this.#random() * next.length)]
      const [message] = visible.splice(visible.indexOf(taken as Message), 1)
      if (message === undefined) break
      if (message.receives >= this.#settings.maxReceives) {
        this.messages.splice(this.messages.indexOf(message), 1)
        this.dead.push(message)
        this.movedDead += 1
        continue
      }
      message.receives += 1
      this.mostReceives = Math.max(this.mostReceives, message.receives)
      message.firstReceivedAt ||= now
      if (message.receipt !== '') message.oldReceipts.push(message.receipt)
      message.receipt = randomUUID()
      message.visibleAt = twice ? now + 1 : now + this.#settings.visibilityMs
      this.wake(message.visibleAt)
      received.push({
        chain: message.chain,
        messageId: message.id,
        receiptHandle: message.receipt,
        body: message.body,
        attributes: {
          ApproximateReceiveCount: String(message.receives),
          SentTimestamp: String(message.sentAt),
          ApproximateFirstReceiveTimestamp: String(message.firstReceivedAt),
          SenderId: 'sender',
        },
        messageAttributes: {},
        eventSource: 'aws:sqs',
      })
    }
    return received
  }

  /** Those of the groups that have the fewest messages in flight (Amazon SQS developer guide, fair queues). */
  #fairest(visible: Message[]): Message[] {
    if (new Set(visible.map(({ group }) => group)).size < 2) return visible
    const now = this.#now()
    const inFlight = (group: string | undefined): number =>
      group === undefined
        ? 0
        : this.messages.filter((one) => one.group === group && one.receives > 0 && one.visibleAt > now).length
    const byGroup = Map.groupBy(visible, ({ group }) => group)
    const counts = new Map([...byGroup.keys()].map((group) => [group, inFlight(group)]))
    const fewest = Math.min(...counts.values())
    return visible.filter(({ group }) => counts.get(group) === fewest)
  }

  /** The handle of a receive before the last one may delete the message, and may not. */
  delete(receipt: string): void {
    const message = this.messages.find(
      (message) =>
        message.receipt === receipt || (message.oldReceipts.includes(receipt) && this.#random() < 0.5),
    )
    if (message === undefined) return
    if (!message.isBack && this.#random() < this.#settings.comesBack) {
      message.isBack = true
      message.visibleAt = this.#now() + this.#random() * BACK_MS
      this.wake(message.visibleAt)
      return
    }
    this.messages = this.messages.filter((other) => other !== message)
  }

  /** What the queues have kept for as long as they keep anything. */
  #forget(): void {
    const isKept = ({ sentAt }: Message): boolean => sentAt + this.#settings.queueKeepsMs > this.#now()
    this.messages = this.messages.filter(isKept)
    this.dead = this.dead.filter(isKept)
  }

  /** StartMessageMoveTask: new messages in the queue that they came from. */
  redrive(): void {
    this.#forget()
    for (const { body, chain } of this.dead.splice(0)) this.send({ MessageBody: body }, chain)
  }

  /** Milliseconds since 1970 at which the next message can be received. */
  get nextAt(): number | undefined {
    return this.messages.length === 0
      ? undefined
      : Math.min(...this.messages.map(({ visibleAt }) => visibleAt))
  }
}

/** One bus of EventBridge in memory. */
export class EventBridgeModel {
  readonly events: { at: number; detail: EventDetail }[] = []
  readonly #now: () => number

  constructor(now: () => number) {
    this.#now = now
  }

  /** @param refuses whether the entry at a position fails, as any of them may in a call that succeeds */
  putEvents({ Entries }: { Entries: { Detail: string }[] }, refuses: (index: number) => boolean): object {
    const answers = Entries.map(({ Detail }, index) => {
      if (refuses(index)) return { ErrorCode: 'InternalFailure', ErrorMessage: 'try again' }
      this.events.push({ at: this.#now(), detail: JSON.parse(Detail) })
      return { EventId: randomUUID() }
    })
    return { Entries: answers, FailedEntryCount: answers.filter((answer) => 'ErrorCode' in answer).length }
  }
}

/** What stands for the key of pictures that are sent in requests. */
export const SENT = 'sent'

/** Rekognition in memory: what it answers depends on the bytes alone; it counts what is billed and keeps to a quota. */
export class RekognitionModel {
  /** Of each object's key, how many calls were answered, which is what is billed; under SENT of what came in requests. */
  readonly paid = new Map<string, number>()
  /** When each operation was answered, in milliseconds since 1970. */
  readonly answered: Record<PaidAnalysis, number[]> = { labels: [], faces: [], moderation: [], text: [] }
  calls = 0
  throttled = 0
  readonly #now: () => number
  readonly #s3: S3Model
  readonly #refuses: (bytes: Buffer) => boolean
  readonly #quota: number | undefined
  readonly #tokens = new Map<string, { left: number; at: number }>()

  constructor(now: () => number, s3: S3Model, refuses: (bytes: Buffer) => boolean, quota?: number) {
    this.#now = now
    this.#s3 = s3
    this.#refuses = refuses
    this.#quota = quota
  }

  detect(
    operation: PaidAnalysis,
    { Image }: { Image: { S3Object?: { Name: string }; Bytes?: Buffer } },
  ): object {
    this.calls += 1
    if (!this.#admits(operation)) {
      this.throttled += 1
      throw new ProvisionedThroughputExceededException({ message: 'Provisioned rate exceeded', $metadata })
    }
    const key = Image.S3Object?.Name ?? SENT
    const bytes = Image.Bytes ?? this.#s3.objects.get(key)?.bytes
    if (bytes === undefined)
      throw new InvalidS3ObjectException({ message: 'Unable to get object', $metadata })
    if (this.#refuses(bytes)) throw new InvalidImageFormatException({ message: 'Invalid format', $metadata })
    this.paid.set(key, (this.paid.get(key) ?? 0) + 1)
    this.answered[operation].push(this.#now())
    const mark = bytes.length
    switch (operation) {
      case 'labels':
        return {
          // Who has a face is a person.
          Labels: [`Bytes ${mark}`, 'Picture', ...(mark % 2 === 0 ? [] : ['Person'])].map((Name) => ({
            ...{ Name, Confidence: 90, Instances: [], Parents: [], Categories: [] },
          })),
          LabelModelVersion: 'model',
        }
      case 'faces':
        return {
          FaceDetails:
            mark % 2 === 0 ? [] : [{ Confidence: 99, Emotions: [{ Type: 'CALM', Confidence: 90 }] }],
        }
      case 'moderation':
        return { ModerationLabels: [], ModerationModelVersion: 'model' }
      case 'text':
        return { TextDetections: [], TextModelVersion: 'model' }
    }
  }

  /** Of each operation, a token bucket that holds one second's worth. */
  #admits(operation: PaidAnalysis): boolean {
    if (this.#quota === undefined) return true
    const most = Math.max(1, this.#quota)
    const now = this.#now()
    const bucket = this.#tokens.get(operation) ?? { left: most, at: now }
    const left = Math.min(most, bucket.left + ((now - bucket.at) * this.#quota) / 1000)
    this.#tokens.set(operation, { left: left >= 1 ? left - 1 : left, at: now })
    return left >= 1
  }
}

/** What a call does to a model. */
export type Effect = (input: never, fault?: Fault) => object

export interface Models {
  s3: S3Model
  sqs: Pick<SqsModel, 'send' | 'changeVisibility'>
  dynamo: Pick<DynamoModel, 'get' | 'put' | 'update' | 'delete' | 'query' | 'batchWrite' | 'batchGet'>
  bus: EventBridgeModel
  rekognition: RekognitionModel
}

/** SDK clients whose commands go to the models; those that the pipeline does not use are refused. */
export function clientsOf(
  { s3, sqs, dynamo, bus, rekognition }: Models,
  call: (name: string, input: never, effect: Effect, signal?: AbortSignal) => Promise<unknown>,
) {
  const client = (operations: Record<string, Effect>) => ({
    send: (
      command: { constructor: { name: string }; input: never },
      options?: { abortSignal?: AbortSignal },
    ) => {
      const name = command.constructor.name.replace(/Command$/, '')
      const effect = operations[name]
      if (effect === undefined) throw new Error(`The models have no ${name}.`)
      return call(name, command.input, effect, options?.abortSignal)
    },
  })
  const everyOther = (fault?: Fault) => (index: number) => fault === 'partial' && index % 2 === 0
  return {
    s3: client({
      PutObject: (input) => s3.put(input),
      GetObject: (input) => s3.get(input),
      HeadObject: (input) => s3.head(input),
      HeadBucket: () => ({}),
      DeleteObject: (input) => s3.delete(input),
    }) as unknown as S3Client,
    sqs: client({
      SendMessage: (input) => sqs.send(input),
      ChangeMessageVisibility: (input) => sqs.changeVisibility(input),
    }) as unknown as SQSClient,
    // The paginators demand one of its class.
    dynamo: Object.assign(
      Object.create(DynamoDBDocumentClient.prototype) as DynamoDBDocumentClient,
      client({
        Get: (input) => dynamo.get(input),
        Put: (input) => dynamo.put(input),
        Update: (input) => dynamo.update(input),
        Delete: (input) => dynamo.delete(input),
        Query: (input) => dynamo.query(input),
        BatchWrite: (input, fault) => dynamo.batchWrite(input, everyOther(fault)),
        BatchGet: (input, fault) => dynamo.batchGet(input, everyOther(fault)),
      }),
    ),
    eventBridge: client({
      PutEvents: (input, fault) => bus.putEvents(input, everyOther(fault)),
    }) as unknown as EventBridgeClient,
    rekognition: client({
      DetectLabels: (input) => rekognition.detect('labels', input),
      DetectFaces: (input) => rekognition.detect('faces', input),
      DetectModerationLabels: (input) => rekognition.detect('moderation', input),
      DetectText: (input) => rekognition.detect('text', input),
    }) as unknown as RekognitionClient,
  }
}
