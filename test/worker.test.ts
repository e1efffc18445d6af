import { readFileSync } from 'node:fs'
import { createServer, type RequestListener, request as sendOn } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import type { PutEventsCommand } from '@aws-sdk/client-eventbridge'
import { RekognitionClient } from '@aws-sdk/client-rekognition'
import { DeleteObjectCommand, GetObjectCommand } from '@aws-sdk/client-s3'
import {
  GetQueueAttributesCommand,
  SetQueueAttributesCommand,
  StartMessageMoveTaskCommand,
} from '@aws-sdk/client-sqs'
import { GetCommand } from '@aws-sdk/lib-dynamodb'
import type { SQSEvent, SQSRecord } from 'aws-lambda'
import sharp, { type Sharp } from 'sharp'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { createMissingResources } from '../infrastructure/resources.ts'
import { clientOptions } from '../shared/aws.ts'
import { gatherReads } from '../shared/labels.ts'
import { sweep } from '../sweeper/sweep.ts'
import { processBatch } from '../worker/batch.ts'
import { ELSEWHERE, lambdaContext, startTestSystem, type TestSystem, until, watchCalls } from './context.ts'
import { orHangs, ownTime } from './own-time.ts'
import { distinct } from './pictures.ts'

const photo = readFileSync(new URL('fixtures/grace-hopper.jpg', import.meta.url))
/** Of which a preview has a side that is too small for Rekognition. */
const STRIP = await sharp({ create: { width: 8_000, height: 100, channels: 3, background: '#48c' } })
  .jpeg()
  .toBuffer()

let system: TestSystem
/** Names of the commands that the worker has sent to AWS, in order. */
let calls: string[]
/** Seconds for which each message that is not done is hidden. */
let waits: number[]
/** What to do when a command is about to be sent: throw, and it never leaves. */
let before: (command: string, input: Record<string, unknown>) => void | Promise<void>
/** What to do when its answer is there: throw, and the caller does not see it. */
let after: (command: string, output: Record<string, unknown>) => void | Promise<void>

beforeEach(async () => {
  system = await startTestSystem()
  calls = []
  waits = []
  before = () => {}
  after = () => {}
  Object.assign(watchCalls(system), {
    before: async (name: string, input: Record<string, unknown>) => {
      await before(name, input)
      if (name === 'ChangeMessageVisibilityCommand') waits.push(Number(input['VisibilityTimeout']))
      calls.push(name)
    },
    after: (name: string, output: Record<string, unknown>) => after(name, output),
  })
})
afterEach(() => system.stop())

const count = (name: string): number => calls.filter((call) => call === name).length
const run = (event: SQSEvent, remainingMs?: number) =>
  processBatch(system.worker, event, lambdaContext(remainingMs))
const eventOf = (...imageIds: string[]): SQSEvent => ({
  Records: imageIds.map((imageId, index) => ({
    messageId: `message-${index}`,
    receiptHandle: 'gone',
    body: JSON.stringify({ version: 1, imageId, epoch: 1 }),
    attributes: {
      ApproximateReceiveCount: '1',
      SentTimestamp: '0',
      SenderId: '',
      ApproximateFirstReceiveTimestamp: '0',
    },
    messageAttributes: {},
    md5OfBody: '',
    eventSource: 'aws:sqs',
    eventSourceARN: '',
    awsRegion: 'us-east-1',
  })),
})
/** Milliseconds in which a batch can work an image off, but not wait out a throttling. */
const SHORT = 1_500
const NOTHING = { requeued: 0, exhausted: 0, announced: 0, removed: 0, failed: 0 }
/** A sweep at a time when everything is due, for the second time where it is to be removed. */
const sweepLater = (look = 1) => {
  const log = {
    ...system.worker.log,
    error: (message: string, { error }: Record<string, unknown>) =>
      system.trouble.push(`${message} ${error}`),
  }
  const now = () => new Date(Date.now() + (look * 4 - 2) * system.worker.sweepAfterMs)
  return sweep({ ...system.worker, now, log, giveUpMs: 14 * 86_400_000 })
}
const objects = async (): Promise<string[]> => {
  const { ListObjectsV2Command } = await import('@aws-sdk/client-s3')
  const { Contents = [] } = await system.worker.s3.send(
    new ListObjectsV2Command({ Bucket: system.names.bucket }),
  )
  return Contents.map(({ Key = '' }) => Key)
}
const failedIds = async (batch: ReturnType<typeof run>) =>
  (await batch).batchItemFailures.map((failure) => failure.itemIdentifier)
const eventIds = async () => (await system.events()).map((event) => event.eventId).sort()

describe('a bad image', () => {
  it('costs its nine neighbours nothing, and all ten are announced in one call', async () => {
    const ids = []
    for (let number = 0; number < 9; number += 1) ids.push(await system.submit(await distinct(number)))
    ids.splice(4, 0, await system.submit(photo.subarray(0, 30_000)))
    const batch = await system.receiveJobs()
    calls.length = 0
    // However slow the machine is, no event is sent alone before the others are there.
    ownTime(system)
    expect(await run(batch)).toEqual({ batchItemFailures: [] })
    const statuses = await Promise.all(ids.map(async (id) => (await system.record(id)).status))
    expect(statuses).toEqual(ids.map((_, index) => (index === 4 ? 'failed' : 'completed')))
    expect(count('PutEventsCommand')).toBe(1)
    expect((await eventIds()).length).toBe(10)
  })
  it('in a message that is no job comes back twice, alone and at once, and is kept in the dead-letter queue then', async () => {
    const imageId = await system.submit(photo)
    const event = eventOf(imageId, imageId, imageId)
    const bodies = ['not json', '{"version":2}']
    bodies.forEach((body, index) => {
      Object.assign(event.Records[index] ?? {}, { body })
    })
    const time = ownTime(system)
    const announcedAt: number[] = []
    before = (command) => {
      if (command === 'PutEventsCommand') announcedAt.push(time.now())
    }
    const ended = failedIds(run(event))
    // So long an event waits for images that have not been heard of; but there is none.
    const lingers = () => time.asleep().includes(2_000)
    await until(
      'the event is on its way, or waits',
      async () => announcedAt.length > 0 || lingers() || undefined,
    )
    time.pass(2_000)
    expect(await ended).toEqual(['message-0', 'message-1'])
    expect(announcedAt).toEqual([expect.toSatisfy((at: number) => at < 2_000)])
    expect((await system.record(imageId)).status).toBe('completed')
    for (const receives of ['2', '3']) {
      expect(await system.deadLetters()).toEqual([])
      for (const { attributes } of event.Records) attributes.ApproximateReceiveCount = receives
      expect(await failedIds(run(event))).toHaveLength(receives === '2' ? 2 : 0)
    }
    expect(await system.deadLetters()).toEqual(bodies)
    expect(system.trouble.filter((line) => line.startsWith('no job'))).toHaveLength(6)
  })
  it('in a message that is no job stays in the queue while the dead-letter queue cannot be reached', async () => {
    const event = eventOf('')
    Object.assign(event.Records[0] ?? {}, { body: 'not json' })
    Object.assign(event.Records[0]?.attributes ?? {}, { ApproximateReceiveCount: '3' })
    before = (command) => {
      if (command === 'SendMessageCommand') throw new Error('SQS is away')
    }
    expect(await failedIds(run(event))).toEqual(['message-0'])
    expect(waits).toHaveLength(1)
  })
})

/** Rekognition is asked through a door of the test, on a connection at a time. */
async function askThrough(door: (pass: () => void, socket: Socket) => void): Promise<void> {
  const listener: RequestListener = (request, response) => {
    const pass = () => {
      const { method, headers, url } = request
      const onward = sendOn(new URL(url ?? '', system.rekognitionEndpoint), { method, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 0, answer.headers)
        answer.pipe(response)
      })
      request.pipe(onward)
    }
    door(pass, request.socket)
  }
  const server = createServer(listener).listen(0, '127.0.0.1')
  await new Promise((listening) => server.once('listening', listening))
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
  system.worker.rekognition = new RekognitionClient({
    ...clientOptions({ endpoint, region: 'us-east-1', credentials }, 1),
    maxAttempts: 1,
  })
  onTestFinished(() => {
    system.worker.rekognition.destroy()
    server.closeAllConnections()
    server.close()
  })
}

describe('a fault of our own', () => {
  it.each(['metadata', 'toBuffer'] as const)(
    'while sharp is at an image (%s) is no verdict on it',
    async (method) => {
      const imageId = await system.submit(photo)
      const fault = vi
        .spyOn(Object.getPrototypeOf(sharp()) as Sharp, method)
        .mockRejectedValue(new TypeError('a slip of ours'))
      onTestFinished(() => fault.mockRestore())
      const batch = await system.receiveJobs()
      expect(await run(batch)).toEqual({
        batchItemFailures: [{ itemIdentifier: batch.Records[0]?.messageId }],
      })
      expect((await system.record(imageId)).status).toBe('processing')
      expect(system.trouble.join()).toContain('a slip of ours')
      fault.mockRestore()
      expect(await run(batch)).toEqual({ batchItemFailures: [] })
      expect((await system.record(imageId)).status).toBe('completed')
    },
  )
})

describe('an image gets its verdict at the first attempt', () => {
  const attempts = async (ids: string[]) =>
    Promise.all(
      ids.map(async (id) => {
        const { status, attempts } = await system.record(id)
        return `${status} ${attempts}`
      }),
    )

  it('although this process comes too late to see an answer, and calls wait for a connection meanwhile', async () => {
    const ids = [await system.submit(photo), await system.submit(await distinct(1))]
    let late = true
    await askThrough((pass) => {
      // Longer than AWS is given for an answer; this process stands still.
      if (late) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5_100)
      late = false
      pass()
    })
    expect(await failedIds(run(eventOf(...ids)))).toEqual([])
    expect(await attempts(ids)).toEqual(['completed 1', 'completed 1'])
  })

  it('although Rekognition has closed a connection that rested, just as it is used again', async () => {
    const ids = [await system.submit(photo), await system.submit(await distinct(1))]
    const used = new Map<Socket, number>()
    let closed = 0
    await askThrough((pass, socket) => {
      used.set(socket, (used.get(socket) ?? 0) + 1)
      if (used.get(socket) === 2 && closed === 0) {
        closed += 1
        socket.destroy()
      } else pass()
    })
    expect(await failedIds(run(eventOf(...ids)))).toEqual([])
    expect(closed).toBe(1)
    expect(await attempts(ids)).toEqual(['completed 1', 'completed 1'])
  })
})

describe('the bytes of a batch', () => {
  it('are looked up by one request when all are claimed, and again where DynamoDB leaves some unread', async () => {
    const pictures = await Promise.all([1, 2, 3].map((number) => distinct(number)))
    const submitAll = async () =>
      eventOf(...(await Promise.all(pictures.map((bytes) => system.submit(bytes)))))
    await run(await submitAll())
    const again = await submitAll()
    calls.length = 0
    const asked: number[] = []
    before = (command, input) => {
      if (command.startsWith('Detect')) throw new Error('paid for twice')
      if (command !== 'BatchGetItemCommand') return
      const [request] = Object.values(input['RequestItems'] as Record<string, { Keys: object[] }>)
      asked.push(request?.Keys.length ?? 0)
    }
    after = (command, output) => {
      if (command !== 'BatchGetItemCommand' || asked.length > 1) return
      const [[table, items] = ['', []]] = Object.entries(
        output['Responses'] as Record<string, { imageId: unknown }[]>,
      )
      const Keys = items.slice(1).map(({ imageId }) => ({ imageId }))
      Object.assign(output, {
        Responses: { [table]: items.slice(0, 1) },
        UnprocessedKeys: { [table]: { Keys } },
      })
    }
    // However slow the machine is, the first is not asked for before all are claimed.
    let claimed = 0
    const read = gatherReads(system.worker)
    system.worker.read = (id) => {
      claimed += 1
      const ask = read(id)
      return () => until('all are claimed', async () => (claimed === 3 ? true : undefined)).then(ask)
    }
    expect(await failedIds(run(again))).toEqual([])
    expect(asked).toEqual([3, 2])
    for (const { body } of again.Records)
      expect(await system.record(JSON.parse(body).imageId)).toMatchObject({ reused: true })
  })
})

describe('a job that is delivered again', () => {
  it('after its end is announced again with the same id and content, until that is acknowledged', async () => {
    const imageId = await system.submit(photo)
    after = (command) => {
      if (command === 'PutEventsCommand') throw new Error('nobody knows')
    }
    await run(eventOf(imageId))
    after = () => {}
    calls.length = 0
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(calls).toEqual([
      'UpdateItemCommand',
      'GetItemCommand',
      'BatchWriteItemCommand',
      'PutEventsCommand',
      'UpdateItemCommand',
    ])
    calls.length = 0
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(calls).toEqual(['UpdateItemCommand', 'GetItemCommand'])
    const [first, second] = await system.events()
    expect(first?.eventId).toBe(`${imageId}:1:completed`)
    expect(second).toEqual(first)
    expect((await system.record(imageId)).attempts).toBe(1)
  })
  it('inside one batch is done once and acknowledged twice', async () => {
    const imageId = await system.submit(photo)
    expect(await failedIds(run(eventOf(imageId, imageId, imageId)))).toEqual([])
    expect(count('DetectLabelsCommand')).toBe(1)
    expect(await eventIds()).toEqual([`${imageId}:1:completed`])
  })
  it('to two workers at once is done by one; the other comes back later', async () => {
    const imageId = await system.submit(photo)
    const failures = await Promise.all([failedIds(run(eventOf(imageId))), failedIds(run(eventOf(imageId)))])
    expect(failures.flat()).toEqual(['message-0'])
    // To wait for another worker is no trouble.
    expect(system.trouble.filter((line) => !line.startsWith('not delayed'))).toEqual([])
    expect(count('DetectLabelsCommand')).toBe(1)
    expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 1 })
  })
  it('is dropped when its image is gone', async () => {
    expect(await failedIds(run(eventOf('0199c0de-0000-7000-8000-000000000000')))).toEqual([])
    expect(await eventIds()).toEqual([])
  })
  it('is dropped when a later run has replaced it', async () => {
    const imageId = await system.submit(photo)
    await system.setItem(imageId, { epoch: 2 })
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect((await system.record(imageId)).status).toBe('pending')
  })
})

describe('a worker that dies', () => {
  it('between commit and announcement leaves a job that announces, and nothing is analysed again', async () => {
    const imageId = await system.submit(photo)
    before = (command) => {
      if (command === 'PutEventsCommand') throw new Error('killed')
    }
    expect(await failedIds(run(eventOf(imageId)))).toEqual(['message-0'])
    expect((await system.record(imageId)).status).toBe('completed')
    expect(await eventIds()).toEqual([])
    before = () => {}
    calls.length = 0
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(await eventIds()).toEqual([`${imageId}:1:completed`])
    expect(count('DetectLabelsCommand')).toBe(0)
  })
  it('while it holds an image is followed by another when its lease is over, not before', async () => {
    const imageId = await system.submit(photo)
    const time = ownTime(system)
    await system.setItem(imageId, {
      status: 'processing',
      leaseId: 'dead',
      leaseUntil: system.worker.now().getTime() + 60_000,
      attempts: 1,
    })
    expect(await failedIds(run(eventOf(imageId)))).toEqual(['message-0'])
    expect(waits).toEqual([60])
    expect((await system.record(imageId)).status).toBe('processing')
    time.pass(60_001)
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 2 })
  })
  it('and is only slow cannot overwrite what its successor has found', async () => {
    const imageId = await system.submit(photo)
    let overtaken = false
    before = async (command) => {
      if (command !== 'DetectLabelsCommand' || overtaken) return
      overtaken = true
      await system.setItem(imageId, { leaseUntil: 0 })
      expect(await failedIds(run(eventOf(imageId)))).toEqual([])
      expect((await system.record(imageId)).status).toBe('completed')
    }
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    const { Item } = await system.worker.dynamo.send(
      new GetCommand({ TableName: system.names.table, Key: { imageId } }),
    )
    expect(Item).toMatchObject({ status: 'completed', attempts: 2 })
    expect(await eventIds()).toEqual([`${imageId}:1:completed`])
  })
  it('holds an image no longer than it can live itself', async () => {
    const imageId = await system.submit(photo)
    let lease = 0
    before = async (command) => {
      if (command === 'GetObjectCommand') lease = Number((await system.item(imageId))['leaseUntil'])
    }
    ownTime(system)
    const now = system.worker.now().getTime()
    await run(eventOf(imageId), 20_000)
    // Clocks may differ by two seconds.
    expect(Math.round(lease - now)).toBe(22_000)
  })
})

describe('metrics', () => {
  it('have the claims of a batch before its first outcome, also where an image of it cannot be claimed', async () => {
    const said: string[] = []
    const [claims, counts] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const write = (message: string) => {
      said.push(message || 'counts')
      if (message === 'claimed') claims.resolve()
      if (message === '') counts.resolve()
    }
    const deps = {
      ...system.worker,
      log: { info: write, warn: write, error: write, namespace: 'counted' },
      // The time that counts wait for other claims.
      sleep: (ms: number, signal?: AbortSignal) =>
        ms === 250 ? claims.promise : system.worker.sleep(ms, signal),
      rekognition: { send: () => counts.promise.then(() => Promise.reject(new Error('Not now.'))) } as never,
    }
    const event = eventOf(await system.submit(photo), '01a20f3c-366e-734c-99ed-0d5fffb2c168')
    await processBatch(deps, event, lambdaContext(10_000))
    expect(said.filter((line) => /^counts|^attempt/.test(line))).toEqual(['counts', 'attempt failed'])
  })
})

describe('an event', () => {
  it('whose job is lost is sent after a sweep, and then the image is swept no more', async () => {
    const imageId = await system.submit(photo)
    await system.receiveJobs()
    before = (command) => {
      if (command === 'PutEventsCommand') throw new Error('EventBridge is away')
    }
    await run(eventOf(imageId))
    before = () => {}
    expect(await sweepLater()).toMatchObject({ announced: 1 })
    expect(await eventIds()).toEqual([`${imageId}:1:completed`])
    expect(await sweepLater()).toEqual(NOTHING)
  })
})

describe('an answer that is lost', () => {
  it('of a commit does not make a second outcome', async () => {
    const imageId = await system.submit(photo)
    let lost = false
    after = async (command) => {
      if (command !== 'UpdateItemCommand' || lost || (await system.item(imageId))['status'] !== 'completed')
        return
      lost = true
      throw new Error('the connection is gone')
    }
    expect(await failedIds(run(eventOf(imageId)))).toEqual(['message-0'])
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(count('DetectLabelsCommand')).toBe(1)
    expect(await eventIds()).toEqual([`${imageId}:1:completed`])
  })
})

describe('transient trouble', () => {
  it('frees the image, shortens the wait, and is logged once; the next attempt completes it', async () => {
    const imageId = await system.submit(photo)
    const batch = await system.receiveJobs()
    before = (command) => {
      if (command === 'DetectFacesCommand') throw new Error('Rekognition is away')
    }
    expect(await failedIds(run(batch))).toEqual([batch.Records[0]?.messageId])
    expect((await system.record(imageId)).status).toBe('processing')
    expect(system.trouble).toEqual([expect.stringContaining('Rekognition is away')])
    const { Attributes } = await system.worker.sqs.send(
      new GetQueueAttributesCommand({ QueueUrl: system.worker.jobQueueUrl, AttributeNames: ['All'] }),
    )
    expect(Attributes?.['ApproximateNumberOfMessagesNotVisible']).toBe('1')
    expect(count('ChangeMessageVisibilityCommand')).toBe(1)
    before = () => {}
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 2 })
  })
  it.each([
    ['PutObjectCommand', 'the thumbnail cannot be stored'],
    ['GetObjectCommand', 'the original cannot be read'],
  ])('with %s never becomes a verdict on the image', async (failing, reason) => {
    const imageId = await system.submit(photo)
    before = (command) => {
      if (command === failing) throw new Error(reason)
    }
    expect(await failedIds(run(eventOf(imageId)))).toEqual(['message-0'])
    expect((await system.record(imageId)).status).toBe('processing')
    expect(await eventIds()).toEqual([])
  })
  it('at the commit of a verdict frees the image too, and what was paid for is not paid for again', async () => {
    const imageId = await system.submit(photo)
    const { InvalidImageFormatException: Refused } = await import('@aws-sdk/client-rekognition')
    let writes = 0
    before = (command) => {
      if (command === 'DetectFacesCommand') throw new Refused({ message: '', $metadata: {} })
      writes += command === 'UpdateItemCommand' ? 1 : 0
      // The claim is the first.
      if (command === 'UpdateItemCommand' && writes === 2) throw new Error('DynamoDB is away')
    }
    expect(await failedIds(run(eventOf(imageId)))).toEqual(['message-0'])
    expect(await system.item(imageId)).toMatchObject({ leaseUntil: 0, kept: { labels: expect.anything() } })
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    const failure = { code: 'ANALYSIS_REFUSED' }
    const paidCalls = { labels: 1 }
    expect(await system.record(imageId)).toMatchObject({ status: 'failed', attempts: 2, failure, paidCalls })
    expect(count('DetectLabelsCommand')).toBe(1)
  })
  it('that outlasts every attempt ends as EXHAUSTED, is announced, and costs no further call', async () => {
    const imageId = await system.submit(photo)
    await system.setItem(imageId, { attempts: 10 })
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(await system.record(imageId)).toMatchObject({ status: 'failed', failure: { code: 'EXHAUSTED' } })
    expect(await eventIds()).toEqual([`${imageId}:1:failed`])
    expect(count('DetectLabelsCommand')).toBe(0)
  })
})

describe('Rekognition', () => {
  it.each([
    'InvalidImageFormatException',
    'ImageTooLargeException',
    'InvalidParameterException',
    'ValidationException',
  ])('that refuses an image with %s has spoken a verdict', async (name) => {
    const imageId = await system.submit(photo)
    const { RekognitionServiceException, ...known } = await import('@aws-sdk/client-rekognition')
    before = (command) => {
      if (command !== 'DetectLabelsCommand') return
      const options = { name, message: name, $metadata: {}, $fault: 'client' as const }
      const Known = known[name as 'InvalidImageFormatException']
      throw Known === undefined ? new RekognitionServiceException(options) : new Known(options)
    }
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(await system.record(imageId)).toMatchObject({
      status: 'failed',
      failure: { code: 'ANALYSIS_REFUSED' },
    })
  })
  describe('that refuses an original', () => {
    type Asked = { name: string; Image: { Bytes?: Uint8Array; S3Object?: object } }
    let asked: Asked[]
    /**
     * Each call is noted.
     *
     * @param refused what it refuses
     * @param together how many are refused at once: a call whose turn comes after the first refusal is not made so any more
     */
    const refuse = async (refused: (call: Asked) => boolean, together = 1): Promise<void> => {
      const { InvalidImageFormatException: Refused } = await import('@aws-sdk/client-rekognition')
      asked = []
      before = async (name, input) => {
        if (!name.startsWith('Detect')) return
        const call = { name, Image: input['Image'] as Asked['Image'] }
        asked.push(call)
        if (!refused(call)) return
        await until('all are asked', async () => asked.filter(refused).length >= together || undefined)
        throw new Refused({ message: 'Request has invalid image format', $metadata: {} })
      }
    }
    const stored = async (Key: string): Promise<Buffer> => {
      const { Body } = await system.worker.s3.send(new GetObjectCommand({ Bucket: system.names.bucket, Key }))
      return Buffer.from((await Body?.transformToByteArray()) ?? [])
    }
    const byReference = ({ Image }: Asked): boolean => Image.S3Object !== undefined
    const submitAll = async (bytes: Uint8Array): Promise<string> => {
      const path = '/images?analyses=labels,faces,moderation,text'
      const headers = { 'content-type': 'image/jpeg' }
      const body = new Uint8Array(bytes)
      const answer = await system.app.request(path, { method: 'POST', headers, body })
      return ((await answer.json()) as { imageId: string }).imageId
    }

    it('gets the preview, once for all four analyses, and the image is completed at the first attempt', async () => {
      const imageId = await submitAll(photo)
      await refuse(byReference, 4)
      expect(await failedIds(run(eventOf(imageId)))).toEqual([])
      expect(await system.record(imageId)).toMatchObject({
        ...{ status: 'completed', attempts: 1, labelModelVersion: 'stand-in' },
        rekognitionLabels: expect.arrayContaining([
          expect.objectContaining({ Name: 'Portrait Orientation' }),
        ]),
      })
      const preview = await stored(`previews/${imageId}.jpg`)
      const sent = asked.flatMap(({ Image }) => (Image.Bytes === undefined ? [] : [Buffer.from(Image.Bytes)]))
      expect(sent).toHaveLength(4)
      for (const bytes of sent) expect(bytes.equals(preview)).toBe(true)
      expect(asked).toHaveLength(8)
    })

    it('gets a JPEG that is made for it where there is no preview, or none that it would take', async () => {
      for (const [bytes, preview, width, height] of [
        [photo, false, 512, 600],
        [STRIP, true, 6_400, 80],
      ] as const) {
        system.worker.preview = preview
        const imageId = await submitAll(bytes)
        await refuse(byReference)
        calls.length = 0
        expect(await failedIds(run(eventOf(imageId)))).toEqual([])
        expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 1 })
        const sent = asked.flatMap(({ Image }) => Image.Bytes ?? [])
        expect(sent).toHaveLength(4)
        for (const jpeg of sent)
          expect(await sharp(jpeg).metadata()).toMatchObject({ format: 'jpeg', width, height })
        // The original is read and decoded once more, for all four.
        expect(count('GetObjectCommand')).toBe(2)
      }
    })

    it('gets it also where it has refused the bytes of the original', async () => {
      system.worker.rekognitionSource = 'bytes'
      const imageId = await system.submit(photo)
      await refuse(({ Image }) => photo.equals(Image.Bytes ?? Buffer.alloc(0)), 2)
      expect(await failedIds(run(eventOf(imageId)))).toEqual([])
      expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 1 })
      expect(asked).toHaveLength(4)
    })

    it('is not asked again what it has answered, nor about the original once it has refused that', async () => {
      const imageId = await system.submit(photo)
      await refuse((call) => byReference(call) && call.name === 'DetectLabelsCommand')
      const { faces } = system.worker.limiters
      const facesAfter = (labels: (call: Asked) => boolean): void => {
        system.worker.limiters.faces = {
          rate: faces.rate,
          run: async (...turn) => {
            const isAsked = () => asked.some((call) => call.name === 'DetectLabelsCommand' && labels(call))
            await until('the labels are asked for', async () => isAsked() || undefined)
            return faces.run(...turn)
          },
        }
      }
      facesAfter((call) => !byReference(call))
      expect(await failedIds(run(eventOf(imageId)))).toEqual([])
      expect(asked.map((call) => [call.name, byReference(call)])).toEqual([
        ['DetectLabelsCommand', true],
        ['DetectLabelsCommand', false],
        ['DetectFacesCommand', false],
      ])
      const other = await system.submit(await distinct(3))
      await refuse((call) => byReference(call) && call.name === 'DetectFacesCommand')
      facesAfter(byReference)
      expect(await failedIds(run(eventOf(other)))).toEqual([])
      expect(asked.map((call) => [call.name, byReference(call)]).sort()).toEqual([
        ['DetectFacesCommand', false],
        ['DetectFacesCommand', true],
        ['DetectLabelsCommand', true],
      ])
    })

    it('and the JPEG of it has spoken a verdict, after two calls of each analysis', async () => {
      const imageId = await submitAll(photo)
      await refuse(() => true, 4)
      expect(await failedIds(run(eventOf(imageId)))).toEqual([])
      expect(await system.record(imageId)).toMatchObject({
        ...{ status: 'failed', attempts: 1, failure: { code: 'ANALYSIS_REFUSED' } },
      })
      expect(asked).toHaveLength(8)
    })

    it('and a JPEG that was sent in its place, has spoken a verdict at once', async () => {
      const imageId = await system.submit(await sharp(photo).webp({ effort: 0 }).toBuffer())
      await refuse(() => true)
      expect(await failedIds(run(eventOf(imageId)))).toEqual([])
      expect(await system.record(imageId)).toMatchObject({ failure: { code: 'ANALYSIS_REFUSED' } })
      expect(asked).toHaveLength(2)
    })

    it('which is gone before it could be read again is missing', async () => {
      system.worker.preview = false
      const imageId = await system.submit(photo)
      await refuse(byReference, 2)
      const note = before
      before = async (name, input) => {
        if (name === 'DetectLabelsCommand')
          await system.worker.s3.send(
            new DeleteObjectCommand({ Bucket: system.names.bucket, Key: `originals/${imageId}` }),
          )
        return note(name, input)
      }
      expect(await failedIds(run(eventOf(imageId)))).toEqual([])
      expect(await system.record(imageId)).toMatchObject({ failure: { code: 'ORIGINAL_MISSING' } })
    })
  })
  it('that cannot read an object which is there has met a wrong set-up, not a bad image', async () => {
    const imageId = await system.submit(photo)
    const { InvalidS3ObjectException } = await import('@aws-sdk/client-rekognition')
    before = (command) => {
      if (command === 'DetectLabelsCommand')
        throw new InvalidS3ObjectException({ message: 'no', $metadata: {} })
    }
    expect(await failedIds(run(eventOf(imageId)))).toEqual(['message-0'])
    expect(system.trouble[0]).toContain('is the bucket in its region')
  })
})

describe('throttling', () => {
  const throttle = async (operation: string) => {
    const { ProvisionedThroughputExceededException } = await import('@aws-sdk/client-rekognition')
    // Faces only when there are labels: the answer that was paid for is not overtaken by the end of the time.
    const labels = new Promise<void>((answered) => {
      after = (command) => {
        if (command === 'DetectLabelsCommand') answered()
      }
    })
    before = async (command) => {
      if (command !== operation) return
      if (command === 'DetectFacesCommand') await labels
      throw new ProvisionedThroughputExceededException({ message: 'slow down', $metadata: {} })
    }
  }
  it('postpones a job, which stays the same message, and counts no failure, however often it comes', async () => {
    const imageId = await system.submit(photo)
    const batch = await system.receiveJobs()
    const [record] = batch.Records
    await throttle('DetectFacesCommand')
    system.worker.maxAttempts = 2
    ownTime(system)
    for (let time = 0; time < 4; time += 1) {
      expect(await failedIds(run(batch, SHORT))).toEqual([record?.messageId])
    }
    expect(waits).toHaveLength(4)
    expect(count('SendMessageCommand')).toBe(1)
    expect(system.trouble).toEqual([])
    expect((await system.record(imageId)).status).toBe('processing')
    before = () => {}
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 5 })
  })
  it('keeps what was paid for, and has DynamoDB answer a record where it is used only', async () => {
    const imageId = await system.submit(photo)
    await throttle('DetectFacesCommand')
    ownTime(system)
    const throttled = before
    let isThrottled = true
    const read: unknown[] = []
    before = async (command, input) => {
      if (command === 'UpdateItemCommand') read.push(input['ReturnValues'])
      if (isThrottled) await throttled(command, input)
    }
    await run(eventOf(imageId), SHORT)
    isThrottled = false
    await run(eventOf(imageId))
    expect([count('DetectLabelsCommand'), count('DetectFacesCommand')]).toEqual([1, 1])
    expect((await system.record(imageId)).rekognitionLabels?.length).toBeGreaterThan(0)
    expect(await system.item(imageId)).not.toHaveProperty('kept')
    // Claim and release; then claim, commit and announcement.
    expect(read).toEqual(['ALL_NEW', 'NONE', 'ALL_NEW', 'ALL_NEW', 'NONE'])
  })
  it('has nothing fetched or stored twice, but for a preview that is wanted by now', async () => {
    const [imageId, other] = [await system.submit(photo), await system.submit(await distinct(1))]
    const both = eventOf(imageId, other)
    const objects = () => [count('GetObjectCommand'), count('PutObjectCommand')]
    const submitted = objects()
    await throttle('DetectFacesCommand')
    ownTime(system)
    system.worker.preview = false
    await run(both, SHORT)
    const { stored } = (await system.item(imageId))['kept'] as { stored: Record<string, object> }
    const metadata = { make: 'Nikon', gps: { latitude: 1, longitude: 2 } }
    await system.setItem(imageId, { kept: { stored: { ...stored, metadata } } })
    expect(objects()).toEqual([2, 2].map((times, at) => times + (submitted[at] ?? 0)))
    before = () => {}
    // The position was read before this was set.
    system.worker.stripGps = true
    await run(eventOf(imageId))
    expect(objects()).toEqual([2, 2].map((times, at) => times + (submitted[at] ?? 0)))
    const { original, thumbnail, ...record } = await system.record(imageId)
    expect({ original, thumbnail }).toEqual({ original: stored['original'], thumbnail: stored['thumbnail'] })
    expect(record).toMatchObject({ status: 'completed', metadata: { make: 'Nikon' } })
    expect(record).not.toHaveProperty('metadata.gps')
    system.worker.preview = true
    await run(eventOf(other))
    expect(await system.record(other)).toHaveProperty('preview')
    expect(objects()).toEqual([3, 4].map((times, at) => times + (submitted[at] ?? 0)))
  })
  it.each([
    ['has Rekognition read the preview where it does not take the original, which is fetched once', photo, 1],
    ['fetches a strip again, whose preview Rekognition does not take', STRIP, 2],
  ])('%s', async (_name, picture, times) => {
    const imageId = await system.submit(await sharp(picture).webp({ effort: 0 }).toBuffer())
    await throttle('DetectFacesCommand')
    ownTime(system)
    await run(eventOf(imageId), SHORT)
    let read: { S3Object?: object } = {}
    before = (command, { Image }) => {
      if (command === 'DetectFacesCommand') read = Image as object
    }
    await run(eventOf(imageId))
    expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 2 })
    expect(count('GetObjectCommand')).toBe(times)
    expect(read.S3Object).toEqual(
      times === 1 ? { Bucket: system.names.bucket, Name: `previews/${imageId}.jpg` } : undefined,
    )
  })
  it('of twins in one batch postpones both', async () => {
    const imageId = await system.submit(photo)
    await throttle('DetectLabelsCommand')
    ownTime(system)
    expect(await failedIds(run(eventOf(imageId, imageId), SHORT))).toEqual(['message-0', 'message-1'])
    expect(await system.item(imageId)).toMatchObject({ attempts: 1 })
  })
  it('has a job wait longer with each receive, and a copy of one that has waited for long no less', async () => {
    await throttle('DetectLabelsCommand')
    ownTime(system)
    for (const [receives, throttled, least, most] of [
      [1, 0, 1, 2],
      [20, 0, 30, 60],
      [100, 0, 125, 251],
      [999, 0, 1_800, 3_600],
      [1, 99, 119, 251],
    ] as const) {
      const imageId = await system.submit(photo)
      await system.setItem(imageId, { attempts: throttled, throttled })
      const event = eventOf(imageId)
      Object.assign(event.Records[0]?.attributes ?? {}, { ApproximateReceiveCount: String(receives) })
      expect(await failedIds(run(event, SHORT))).toEqual(['message-0'])
      const wait = waits.at(-1) ?? 0
      expect(wait).toBeGreaterThanOrEqual(least)
      expect(wait).toBeLessThanOrEqual(most)
      // The sweeper does not send another job while this one is known to wait.
      const due = Number((await system.item(imageId))['dueAt'])
      expect(due - Date.now()).toBeGreaterThan(wait * 1_000 + system.worker.sweepAfterMs - 60_000)
    }
    expect(waits).toHaveLength(5)
  })
  it('whose postponement fails leaves the job where it is, until its visibility timeout is over', async () => {
    const imageId = await system.submit(photo)
    await throttle('DetectLabelsCommand')
    const throttled = before
    before = (command, input) => {
      if (command === 'ChangeMessageVisibilityCommand') throw new Error('SQS is away')
      return throttled(command, input)
    }
    ownTime(system)
    expect(await failedIds(run(eventOf(imageId), SHORT))).toEqual(['message-0'])
  })
  it('that is over soon is waited out on the spot', async () => {
    const imageId = await system.submit(photo)
    let refused = 0
    await throttle('DetectLabelsCommand')
    const throttled = before
    before = (command, input) => {
      if (command === 'DetectLabelsCommand') refused += 1
      return refused < 3 ? throttled(command, input) : undefined
    }
    ownTime(system)
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 1 })
    expect(count('SendMessageCommand')).toBe(1)
  })
})

describe('the end of a worker’s process', () => {
  it('takes no attempt from an image that it breaks off, and its job is back in two seconds', async () => {
    const imageId = await system.submit(photo)
    system.worker.maxAttempts = 2
    const event = eventOf(imageId)
    Object.assign(event.Records[0]?.attributes ?? {}, { ApproximateReceiveCount: '30' })
    const { render } = system.worker
    for (let drains = 0; drains < 3; drains += 1) {
      const ending = new AbortController()
      system.worker.render = (_bytes, _source, { signal } = {}) =>
        new Promise((_, reject) => {
          signal?.addEventListener('abort', () => reject(signal.reason))
          ending.abort()
        })
      expect(
        await failedIds(processBatch(system.worker, event, lambdaContext(), ending.signal)),
      ).toHaveLength(1)
      // What is taken up when it ends already.
      expect(
        await failedIds(processBatch(system.worker, event, lambdaContext(), ending.signal)),
      ).toHaveLength(1)
    }
    expect(waits.every((seconds) => seconds === 1 || seconds === 2)).toBe(true)
    expect(waits).toHaveLength(6)
    system.worker.render = render
    expect(await failedIds(run(event))).toEqual([])
    expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 4 })
  })
})

describe('the end of the function’s time', () => {
  it('comes before what hangs is waited for, and what the others have done is kept', async () => {
    const ids = [await system.submit(photo), await system.submit(await distinct(1))]
    const { render } = system.worker
    system.worker.render = (bytes, ...rest) =>
      bytes.equals(photo) ? new Promise(() => {}) : render(bytes, ...rest)
    const time = ownTime(system)
    const noted: string[] = []
    system.worker.log = { ...system.worker.log, info: (message) => noted.push(message) }
    const ended = failedIds(run(eventOf(...ids), 3_000))
    await until('an event waits for the other image', async () => time.asleep().includes(2_000) || undefined)
    time.pass(2_000)
    await until('it is announced', async () => noted.includes('announced') || undefined)
    time.pass(999)
    expect(await orHangs(ended)).toHaveLength(1)
    const statuses = await Promise.all(ids.map(async (id) => (await system.record(id)).status))
    expect(statuses).toEqual(['processing', 'completed'])
    expect(await eventIds()).toEqual([`${ids[1]}:1:completed`])
  })
  it('breaks off a call that hangs, so that the image can be taken up again at once', async () => {
    const imageId = await system.submit(await distinct(2))
    let asked = 0
    const send = (_command: unknown, { abortSignal }: { abortSignal: AbortSignal }) => {
      asked += 1
      return new Promise((_, reject) => {
        abortSignal.addEventListener('abort', () => reject(abortSignal.reason))
      })
    }
    system.worker.rekognition = { send, destroy: () => {} } as never
    // What is known of these bytes is of another Rekognition.
    system.worker.analysisSource = 'one that hangs'
    const time = ownTime(system)
    const ended = failedIds(run(eventOf(imageId), 3_000))
    await until('Rekognition is asked', async () => asked > 0 || undefined)
    time.pass(2_400)
    expect(await orHangs(ended)).toEqual(['message-0'])
    expect(await system.item(imageId)).toMatchObject({ status: 'processing', leaseUntil: 0 })
  })
  it('makes no paid call for an image that is decoded too late', async () => {
    const imageId = await system.submit(photo)
    const { render } = system.worker
    system.worker.render = async (...image) => {
      const rendered = await render(...image)
      time.pass(2_400)
      return rendered
    }
    const time = ownTime(system)
    expect(await failedIds(run(eventOf(imageId), 3_000))).toEqual(['message-0'])
    expect(count('DetectLabelsCommand')).toBe(0)
    // To be taken up again at once.
    expect(waits).toEqual([expect.toSatisfy((seconds) => seconds <= 2)])
    expect(await system.item(imageId)).toMatchObject({ status: 'processing', leaseUntil: 0 })
  })
})

describe('results that no item of DynamoDB holds', () => {
  const Instances = Array.from({ length: 5 }, () => ({
    BoundingBox: { Left: 0.123456789, Top: 0.123456789, Width: 0.123456789, Height: 0.123456789 },
    Confidence: 98.76543210987,
  }))
  const Labels = Array.from({ length: 1_000 }, (_, index) => ({
    ...{ Name: `Label ${index}`, Confidence: 99.5 - index / 100, Instances, Parents: [{ Name: 'Parent' }] },
  }))
  it('are stored as an object, marked, and shown whole; the event is as ever; a deletion removes them', async () => {
    const imageId = await system.submit(photo)
    after = (command, output) => {
      if (command === 'DetectLabelsCommand') Object.assign(output, { Labels })
    }
    before = (command) => {
      if (command === 'DetectFacesCommand') throw new Error('Rekognition is away')
    }
    expect(await failedIds(run(eventOf(imageId)))).toEqual(['message-0'])
    expect(Object.keys((await system.item(imageId))['kept'] as object)).toEqual(['stored'])
    before = () => {}
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(count('GetObjectCommand')).toBe(1)
    const stored = await system.item(imageId)
    expect(stored['analysis']).toMatchObject({ key: `analyses/${imageId}.json` })
    expect(JSON.stringify(stored).length).toBeLessThan(300_000)
    const record = await system.record(imageId)
    expect(record).toMatchObject({ status: 'completed', analysis: stored['analysis'] })
    expect(record.rekognitionLabels).toEqual(Labels)
    const [event] = await system.events()
    expect(event?.labels?.slice(0, 2)).toEqual(['Label 0', 'Label 1'])
    expect((await system.app.request(`/images/${imageId}`, { method: 'DELETE' })).status).toBe(204)
    expect(await objects()).toEqual([])
  })
  it('stay in the record where it has room for them', async () => {
    const imageId = await system.submit(photo)
    after = (command, output) => {
      if (command === 'DetectLabelsCommand') Object.assign(output, { Labels: Labels.slice(0, 250) })
    }
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(await system.item(imageId)).not.toHaveProperty('analysis')
    expect((await system.record(imageId)).rekognitionLabels).toEqual(Labels.slice(0, 250))
  })
})

describe('a job from the dead-letter queue', () => {
  const exhaust = async (): Promise<string> => {
    const imageId = await system.submit(photo)
    await system.setItem(imageId, { attempts: 10 })
    await system.work()
    expect(await system.record(imageId)).toMatchObject({ status: 'failed', failure: { code: 'EXHAUSTED' } })
    return imageId
  }
  const jobs = (destination: object) =>
    system.worker.sqs.send(
      new StartMessageMoveTaskCommand({
        SourceArn: `arn:aws:sqs:us-east-1:000000000000:${system.names.deadQueue}`,
        ...destination,
      }),
    )
  const arrived = () =>
    until('the redriven job', async () => {
      const batch = await system.receiveJobs()
      return batch.Records.length > 0 ? batch : undefined
    })
  it.runIf(ELSEWHERE === undefined).each([
    ['to a destination', { DestinationArn: 'arn:aws:sqs:us-east-1:000000000000:image-analyzer-jobs' }],
    ['to where it came from', {}],
  ])(
    'that is moved %s has an exhausted image really analysed again, as a new run',
    async (_name, destination) => {
      const imageId = await exhaust()
      await jobs(destination)
      const batch = await arrived()
      const sent = count('SendMessageCommand')
      expect(await failedIds(run(batch))).toEqual([])
      expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 1 })
      expect(await eventIds()).toEqual([`${imageId}:1:failed`, `${imageId}:2:completed`])
      // No worker sends anything to the queue that it is fed from.
      expect(count('SendMessageCommand')).toBe(sent)
    },
  )
  it('is there once for each image that was given up, and for no other', async () => {
    const imageId = await exhaust()
    await system.submit(photo.subarray(0, 20_000))
    await system.submit(photo)
    await system.work()
    expect(await system.deadLetters()).toEqual([`{"version":1,"imageId":"${imageId}","epoch":2}`])
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(await system.deadLetters()).toEqual([])
  })
  it.each(['SendMessageCommand', 'PutEventsCommand'])(
    'is there though the worker that gave its image up died at %s',
    async (fatal) => {
      const imageId = await system.submit(photo)
      await system.setItem(imageId, { attempts: 10 })
      before = (command) => {
        if (command === fatal) throw new Error('killed')
      }
      expect(await failedIds(run(eventOf(imageId)))).toEqual(['message-0'])
      before = () => {}
      expect(await system.deadLetters()).toEqual([])
      // By whichever comes first: the old job, or the sweeper.
      expect(await sweepLater()).toMatchObject({ announced: 1 })
      expect(await failedIds(run(eventOf(imageId)))).toEqual([])
      expect(await system.deadLetters()).toHaveLength(1)
    },
  )
  it('is no late copy of the old job, however late that comes', async () => {
    const imageId = await exhaust()
    const late = eventOf(imageId)
    Object.assign(late.Records[0]?.attributes ?? {}, { SentTimestamp: String(Date.now() + 3_600_000) })
    expect(await failedIds(run(late))).toEqual([])
    expect(await system.item(imageId)).toMatchObject({ status: 'failed', epoch: 1 })
  })
  it('begins one run, however many of it there are, and none where a retry was faster', async () => {
    const imageId = await exhaust()
    const [body] = await system.deadLetters()
    const [record] = eventOf('').Records
    const Records = [0, 1].map((index) => ({ ...record, messageId: `copy-${index}`, body })) as SQSRecord[]
    expect((await system.app.request(`/images/${imageId}/retry`, { method: 'POST' })).status).toBe(202)
    await system.work()
    expect(await failedIds(run({ Records }))).toEqual([])
    expect(await system.item(imageId)).toMatchObject({ status: 'completed', epoch: 2, attempts: 1 })
  })
  it.each([
    [
      'the next run of an image that failed for its own fault',
      () => system.submit(photo.subarray(0, 20_000)),
      2,
    ],
    ['a run after the next one', exhaust, 3],
  ])('is no job of %s', async (_name, failed, epoch) => {
    const imageId = await failed()
    await system.work()
    const forged = eventOf('')
    Object.assign(forged.Records[0] ?? {}, { body: JSON.stringify({ version: 1, imageId, epoch }) })
    expect(await failedIds(run(forged))).toEqual(['message-0'])
    expect(await system.item(imageId)).toMatchObject({ status: 'failed', epoch: 1 })
  })
  it('waits for the event of the failure', async () => {
    const imageId = await exhaust()
    const [body = ''] = await system.deadLetters()
    await system.setItem(imageId, { unfinished: '0', sweepAt: Date.now() })
    const redriven = eventOf('')
    Object.assign(redriven.Records[0] ?? {}, { body })
    expect(await failedIds(run(redriven))).toEqual(['message-0'])
    expect(await system.item(imageId)).toMatchObject({ status: 'failed', epoch: 1 })
  })
})

describe('a retry', () => {
  const retry = (imageId: string) => system.app.request(`/images/${imageId}/retry`, { method: 'POST' })
  it('gives a failed image a new run with an event of its own; the old job does nothing', async () => {
    const imageId = await system.submit(photo)
    await system.setItem(imageId, { attempts: 10 })
    await system.work()
    expect((await system.record(imageId)).failure?.code).toBe('EXHAUSTED')
    const response = await retry(imageId)
    expect(response.status).toBe(202)
    const location = new URL(
      response.headers.get('location') ?? '',
      `https://host/prod/images/${imageId}/retry`,
    )
    expect(location.pathname).toBe(`/prod/images/${imageId}`)
    const pending = await system.record(imageId)
    expect(pending).toMatchObject({ status: 'pending', attempts: 0 })
    expect(pending).not.toHaveProperty('failure')
    expect(pending).not.toHaveProperty('completedAt')
    expect(await system.item(imageId)).not.toHaveProperty('paidCalls')
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect((await system.record(imageId)).status).toBe('pending')
    await system.work()
    expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 1 })
    expect(await eventIds()).toEqual([`${imageId}:1:failed`, `${imageId}:2:completed`])
  })
  it('waits until the failure before it is announced, so that this event is not lost', async () => {
    const imageId = await system.submit(photo.subarray(0, 20_000))
    before = (command) => {
      if (command === 'PutEventsCommand') throw new Error('EventBridge is away')
    }
    await run(eventOf(imageId))
    expect((await system.record(imageId)).status).toBe('failed')
    const early = await retry(imageId)
    expect(early.status).toBe(503)
    expect(await early.json()).toMatchObject({ code: 'UNAVAILABLE' })
    before = () => {}
    const late = retry(imageId)
    await run(eventOf(imageId))
    expect((await late).status).toBe(202)
    expect(await eventIds()).toEqual([`${imageId}:1:failed`])
  })
  it('is refused for any other image, and done once for two at the same moment', async () => {
    const imageId = await system.submit(photo)
    expect((await retry(imageId)).status).toBe(409)
    expect(await (await retry(imageId)).json()).toMatchObject({ code: 'NOT_FAILED' })
    await system.work()
    expect((await retry(imageId)).status).toBe(409)
    const failed = await system.submit(photo.subarray(0, 20_000))
    await system.work()
    const statuses = await Promise.all([retry(failed), retry(failed), retry(failed)])
    expect(statuses.map((response) => response.status).sort()).toEqual([202, 409, 409])
    expect((await retry('0199c0de-0000-7000-8000-000000000000')).status).toBe(404)
  })
})

describe('a deletion', () => {
  const remove = (imageId: string, owner = 'anonymous') =>
    system.app.request(`/images/${imageId}`, { method: 'DELETE', headers: { 'x-test-owner': owner } })
  it('leaves no record and no object, and is refused the second time and to everybody else', async () => {
    const imageId = await system.submit(photo)
    await system.work()
    expect(await objects()).toHaveLength(3)
    expect((await remove(imageId, 'somebody-else')).status).toBe(404)
    expect(await objects()).toHaveLength(3)
    expect((await remove(imageId)).status).toBe(204)
    expect(await objects()).toEqual([])
    expect((await system.app.request(`/images/${imageId}`)).status).toBe(404)
    expect((await remove(imageId)).status).toBe(404)
    expect(await (await system.app.request('/images')).json()).toEqual({ items: [] })
  })
  it('of an image that is queued ends its job quietly', async () => {
    const imageId = await system.submit(photo)
    expect((await remove(imageId)).status).toBe(204)
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(await eventIds()).toEqual([])
    expect(system.trouble).toEqual([])
  })
  it('wins against a worker that is at the image, which leaves nothing behind', async () => {
    const imageId = await system.submit(photo)
    let removed = false
    before = async (command) => {
      if (
        command !== 'UpdateItemCommand' ||
        removed ||
        (await system.item(imageId))['status'] !== 'processing'
      )
        return
      removed = true
      expect((await remove(imageId)).status).toBe(204)
    }
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(removed).toBe(true)
    expect((await system.app.request(`/images/${imageId}`)).status).toBe(404)
    expect(await objects()).toEqual([])
    // All that is left is a note that has the sweeper look once more.
    expect(Object.keys(await system.item(imageId)).sort()).toEqual([
      'imageId',
      'status',
      'sweepAt',
      'unfinished',
    ])
    expect(await sweepLater()).toEqual(NOTHING)
    expect(await sweepLater(2)).toMatchObject({ removed: 1 })
    expect(await system.item(imageId)).toEqual({})
    expect(await eventIds()).toEqual([])
  })
})

describe('EventBridge', () => {
  it('that takes nine of ten events fails the one message only', async () => {
    const ids = []
    for (let number = 0; number < 10; number += 1) ids.push(await system.submit(await distinct(number)))
    after = (command, output) => {
      if (command !== 'PutEventsCommand') return
      const entries = output['Entries'] as object[]
      entries[3] = { ErrorCode: 'InternalFailure', ErrorMessage: 'try again' }
      output['FailedEntryCount'] = 1
    }
    // However slow the machine is, no event is sent before the others are there.
    ownTime(system)
    expect((await failedIds(run(eventOf(...ids)))).length, system.trouble.join('\n')).toBe(1)
    expect(count('PutEventsCommand')).toBe(1)
    expect(system.trouble[0]).toContain('InternalFailure')
  })
  it('is not asked before the outcome is committed', async () => {
    const ids = [await system.submit(photo), await system.submit(await distinct(1))]
    const statuses: string[] = []
    before = async (command, input) => {
      if (command !== 'PutEventsCommand') return
      for (const { Detail } of (input as unknown as PutEventsCommand['input']).Entries ?? []) {
        statuses.push((await system.record(JSON.parse(Detail ?? '').imageId)).status)
      }
    }
    await run(eventOf(...ids))
    expect(statuses).toEqual(['completed', 'completed'])
  })
})

describe('a job that no attempt brings to an end', () => {
  it('is moved to the dead-letter queue after as many receives as SQS takes, also where the queue is an old one', async () => {
    const { sqs, jobQueueUrl: QueueUrl, s3, eventBridge } = system.worker
    const policy = async () => {
      const asked = new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['RedrivePolicy'] })
      return JSON.parse((await sqs.send(asked)).Attributes?.['RedrivePolicy'] ?? '')
    }
    const made = await policy()
    expect(made).toMatchObject({ maxReceiveCount: 1_000 })
    const RedrivePolicy = JSON.stringify({ ...made, maxReceiveCount: 5 })
    await sqs.send(new SetQueueAttributesCommand({ QueueUrl, Attributes: { RedrivePolicy } }))
    const target = { endpoint: system.endpoint, region: 'us-east-1' }
    const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
    const dynamoDb = new DynamoDBClient(clientOptions({ ...target, credentials }))
    await createMissingResources({ s3, sqs, dynamoDb, eventBridge, region: 'us-east-1' }, system.names)
    dynamoDb.destroy()
    expect(await policy()).toEqual(made)
  })
})
