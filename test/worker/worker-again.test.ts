import { readFileSync } from 'node:fs'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import type { PutEventsCommand } from '@aws-sdk/client-eventbridge'
import {
  GetQueueAttributesCommand,
  SetQueueAttributesCommand,
  StartMessageMoveTaskCommand,
} from '@aws-sdk/client-sqs'
import { GetCommand } from '@aws-sdk/lib-dynamodb'
import type { SQSRecord } from 'aws-lambda'
import { describe, expect, it } from 'vitest'
import { createMissingResources } from '../../infrastructure/resources.ts'
import { clientOptions } from '../../shared/aws.ts'
import { ELSEWHERE, skippedElsewhere, until } from '../context.ts'
import { ownTime } from '../own-time.ts'
import { distinct } from '../pictures/pictures.ts'
import {
  calls,
  count,
  eachWithSystem,
  eventIds,
  eventOf,
  failedIds,
  NOTHING,
  objects,
  run,
  sweepLater,
  system,
  waits,
  watch,
} from './worker-system.ts'

const photo = readFileSync(new URL('../fixtures/grace-hopper.jpg', import.meta.url))

eachWithSystem()

describe('a job that is delivered again', () => {
  it('after its end is announced again with the same id and content, until that is acknowledged', async () => {
    const imageId = await system.submit(photo)
    watch.after = (command) => {
      if (command === 'PutEventsCommand') throw new Error('nobody knows')
    }
    await run(eventOf(imageId))
    watch.after = () => {}
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
    watch.before = (command) => {
      if (command === 'PutEventsCommand') throw new Error('killed')
    }
    expect(await failedIds(run(eventOf(imageId)))).toEqual(['message-0'])
    expect((await system.record(imageId)).status).toBe('completed')
    expect(await eventIds()).toEqual([])
    watch.before = () => {}
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
    watch.before = async (command) => {
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
    watch.before = async (command) => {
      if (command === 'GetObjectCommand') lease = Number((await system.item(imageId))['leaseUntil'])
    }
    ownTime(system)
    const now = system.worker.now().getTime()
    await run(eventOf(imageId), 20_000)
    // Clocks may differ by two seconds.
    expect(Math.round(lease - now)).toBe(22_000)
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
  it.skipIf(ELSEWHERE !== undefined).each([
    ['to a destination', { DestinationArn: 'arn:aws:sqs:us-east-1:000000000000:image-analyzer-jobs' }],
    ['to where it came from', {}],
  ])(
    `that is moved %s has an exhausted image really analysed again, as a new run${skippedElsewhere}`,
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
      watch.before = (command) => {
        if (command === fatal) throw new Error('killed')
      }
      expect(await failedIds(run(eventOf(imageId)))).toEqual(['message-0'])
      watch.before = () => {}
      expect(await system.deadLetters()).toEqual([])
      // By the old job or by the sweeper: one of them is first.
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
    watch.before = (command) => {
      if (command === 'PutEventsCommand') throw new Error('EventBridge is away')
    }
    await run(eventOf(imageId))
    expect((await system.record(imageId)).status).toBe('failed')
    const early = await retry(imageId)
    expect(early.status).toBe(503)
    expect(await early.json()).toMatchObject({ code: 'UNAVAILABLE' })
    watch.before = () => {}
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
    watch.before = async (command) => {
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
    watch.after = (command, output) => {
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
    watch.before = async (command, input) => {
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
