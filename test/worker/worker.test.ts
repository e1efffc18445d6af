import { readFileSync } from 'node:fs'
import { createServer, type RequestListener, request as sendOn } from 'node:http'
import type { Socket } from 'node:net'
import { RekognitionClient, ThrottlingException } from '@aws-sdk/client-rekognition'
import { GetQueueAttributesCommand } from '@aws-sdk/client-sqs'
import sharp, { type Sharp } from 'sharp'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { clientOptions } from '../../shared/aws.ts'
import { gatherReads } from '../../shared/table.ts'
import { processBatch } from '../../worker/batch.ts'
import { limitersFor } from '../../worker/limiter.ts'
import { lambdaContext, until } from '../context.ts'
import { orHangs, ownTime } from '../own-time.ts'
import { distinct } from '../pictures/pictures.ts'
import {
  calls,
  count,
  eachWithSystem,
  eventIds,
  eventOf,
  failedIds,
  NOTHING,
  run,
  sweepLater,
  system,
  waits,
  watch,
} from './worker-system.ts'

const photo = readFileSync(new URL('../fixtures/grace-hopper.jpg', import.meta.url))

eachWithSystem()

describe('a bad image', () => {
  it('costs its nine neighbours nothing, and all ten are announced in one call', async () => {
    const ids = []
    for (let number = 0; number < 9; number += 1) ids.push(await system.submit(await distinct(number)))
    ids.splice(4, 0, await system.submit(photo.subarray(0, 30_000)))
    const batch = await system.receiveJobs()
    calls.length = 0
    // However slow the machine is, no event is sent alone before the others are there; nor do the others wait for the quota.
    ownTime(system, 1_000)
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
    watch.before = (command) => {
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
    // In the order of SQS's answers.
    expect((await ended).sort()).toEqual(['message-0', 'message-1'])
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
    watch.before = (command) => {
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
  const server = createServer(listener)
  const endpoint = `http://127.0.0.1:${await listen(server, 0)}`
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
    watch.before = (command, input) => {
      if (command.startsWith('Detect')) throw new Error('paid for twice')
      if (command !== 'BatchGetItemCommand') return
      const [request] = Object.values(input['RequestItems'] as Record<string, { Keys: object[] }>)
      asked.push(request?.Keys.length ?? 0)
    }
    watch.after = (command, output) => {
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
    let looked = 0
    const read = gatherReads(system.worker)
    system.worker.read = (id) => {
      looked += 1
      const ask = read(id)
      return () => until('all are claimed', async () => (looked === 12 ? true : undefined)).then(ask)
    }
    expect(await failedIds(run(again))).toEqual([])
    // Each by its labels and faces, which text, moderation or both may come with.
    expect(asked).toEqual([12, 2])
    for (const { body } of again.Records)
      expect(await system.record(JSON.parse(body).imageId)).toMatchObject({ reused: true })
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
    watch.before = (command) => {
      if (command === 'PutEventsCommand') throw new Error('EventBridge is away')
    }
    await run(eventOf(imageId))
    watch.before = () => {}
    expect(await sweepLater()).toMatchObject({ announced: 1 })
    expect(await eventIds()).toEqual([`${imageId}:1:completed`])
    expect(await sweepLater()).toEqual(NOTHING)
  })
})

describe('an answer that is lost', () => {
  it('of a commit does not make a second outcome', async () => {
    const imageId = await system.submit(photo)
    let lost = false
    watch.after = async (command) => {
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
    watch.before = (command) => {
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
    watch.before = () => {}
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 2 })
  })
  it.each([
    ['PutObjectCommand', 'the thumbnail cannot be stored'],
    ['GetObjectCommand', 'the original cannot be read'],
  ])('with %s never becomes a verdict on the image', async (failing, reason) => {
    const imageId = await system.submit(photo)
    watch.before = (command) => {
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
    watch.before = (command) => {
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
  it('that outlasts every attempt is told of in the record, the event and the log', async () => {
    const imageId = await system.submit(photo)
    ownTime(system)
    system.worker.maxAttempts = 2
    const answers = ['InternalServerError', 'ThrottlingException', 'AccessDeniedException']
    const arn = 'arn:aws:sts::123456789012:assumed-role/worker'
    const rekognition = system.worker.rekognition
    const refuse = (name: string, ms = 30_000) => {
      const error = Object.assign(new ThrottlingException({ message: `${arn}\nmay not`, $metadata: {} }), {
        name,
      })
      if (name !== 'ThrottlingException') Object.setPrototypeOf(error, Error.prototype)
      system.worker.rekognition = { send: () => Promise.reject(error) } as never
      return failedIds(run(eventOf(imageId), ms))
    }
    for (const name of answers)
      expect(await refuse(name, name === 'ThrottlingException' ? 1_500 : 30_000)).toEqual(['message-0'])
    Object.assign(system.worker, { rekognition })
    const trouble = { attempt: 3, name: 'AccessDeniedException', message: `${arn} may not` }
    expect(await system.item(imageId)).toMatchObject({ trouble, throttled: 1 })
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    const message =
      'The image was not analysed in 2 attempts (the last attempt met AccessDeniedException); try again later.'
    const record = await system.record(imageId)
    expect(record).toMatchObject({ status: 'failed', failure: { code: 'EXHAUSTED', message } })
    expect(JSON.stringify(record)).not.toContain('assumed-role')
    const line = system.lines.find(({ event, imageId: id }) => event === 'failed' && id === imageId)
    expect(line).toMatchObject({ code: 'EXHAUSTED', error: trouble })
    await system.app.request(`/images/${imageId}/retry`, { method: 'POST' })
    expect(await system.item(imageId)).not.toHaveProperty('trouble')
    await system.work()
    expect(await system.record(imageId)).toMatchObject({ status: 'completed' })
  })
  it('that was met before an attempt which does not count, is what the next one is given up for', async () => {
    const trouble = { attempt: 10, name: 'AccessDenied', message: 'You may not.' }
    const throttled = { send: () => Promise.reject(new ThrottlingException({ message: '', $metadata: {} })) }
    const said: unknown[] = []
    ownTime(system)
    for (const attempts of [10, 11]) {
      const imageId = await system.submit(photo)
      await system.setItem(imageId, { attempts, throttled: attempts - 9, trouble })
      const { rekognition } = system.worker
      Object.assign(system.worker, { rekognition: throttled })
      await failedIds(run(eventOf(imageId), 1_500))
      Object.assign(system.worker, { rekognition })
      await system.setItem(imageId, { throttled: 1 })
      await failedIds(run(eventOf(imageId)))
      said.push((await system.record(imageId)).failure?.message)
    }
    expect(said).toEqual([
      'The image was not analysed in 10 attempts (the last attempt met AccessDenied); try again later.',
      'The image was not analysed in 10 attempts; try again later.',
    ])
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

  it('has a signal of which a batch leaves nothing behind', async () => {
    const { signal: ending } = new AbortController()
    await processBatch(system.worker, eventOf(await system.submit(photo)), lambdaContext(), ending)
    // Listeners, and signals that depend on this one.
    const sizes = Object.getOwnPropertySymbols(ending).map((name) => Object(Reflect.get(ending, name)).size)
    expect(sizes.filter((size) => size > 0)).toEqual([])
    expect(sizes).toContain(0)
  })
  it('comes to what waits for the quota within a second, and takes no attempt from it', async () => {
    const ids = [await system.submit(photo), await system.submit(await distinct(1))]
    for (const imageId of ids) await system.setItem(imageId, { analyses: ['labels'] })
    const isCompleted = async () => system.lines.some(({ event }) => event === 'completed') || undefined
    const ending = new AbortController()
    const time = ownTime(system)
    // A call each 20 seconds; so the second one naps.
    system.worker.limiters = limitersFor({
      ...{ elapsed: time.now, random: () => 0.99, callsPerSecond: 0.05 },
      sleep: async (ms) => {
        if (ms === 1_000) await until('the other is completed', isCompleted)
        if (ms === 1_000) ending.abort()
        time.pass(ms)
      },
    })
    const batch = processBatch(system.worker, eventOf(...ids), lambdaContext(60_000), ending.signal)
    expect(await failedIds(batch)).toHaveLength(1)
    expect(time.now()).toBeLessThan(2_000)
    expect(waits.every((seconds) => seconds === 1 || seconds === 2)).toBe(true)
    const items = await Promise.all(ids.map((imageId) => system.item(imageId)))
    expect(items.filter(({ status }) => status === 'processing')).toMatchObject([
      { attempts: 1, throttled: 1, leaseUntil: 0 },
    ])
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
  it('comes also where SQS hangs, which is to hide what comes back', async () => {
    const ids = [await system.submit(photo), await system.submit(await distinct(1))]
    const { render } = system.worker
    system.worker.render = (bytes, ...rest) =>
      bytes.equals(photo) ? new Promise(() => {}) : render(bytes, ...rest)
    const asked: string[] = []
    const send = async (command: object, options?: { abortSignal: AbortSignal }) => {
      asked.push(command.constructor.name)
      options?.abortSignal.throwIfAborted()
      return new Promise((_, reject) => {
        options?.abortSignal.addEventListener('abort', () => reject(options.abortSignal.reason))
      })
    }
    system.worker.sqs = { send, destroy: () => {} } as never
    const time = ownTime(system)
    const noted: string[] = []
    system.worker.log = { ...system.worker.log, info: (message) => noted.push(message) }
    const event = eventOf(...ids)
    const [job] = event.Records as [(typeof event.Records)[number]]
    const attributes = { ...job.attributes, ApproximateReceiveCount: '3' }
    event.Records.push({ ...job, messageId: 'no-job', body: '{', attributes })
    const ended = failedIds(run(event, 3_000))
    await until('an event waits for the other image', async () => time.asleep().includes(2_000) || undefined)
    time.pass(2_000)
    await until('it is announced', async () => noted.includes('announced') || undefined)
    time.pass(800)
    await until('one is to be hidden', async () => asked.length > 1 || undefined)
    time.pass(100)
    expect(new Set(await orHangs(ended))).toEqual(new Set(['message-0', 'no-job']))
    expect(asked).toEqual(['SendMessageCommand', ...Array(2).fill('ChangeMessageVisibilityCommand')])
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
