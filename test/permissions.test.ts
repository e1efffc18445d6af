import { readFileSync } from 'node:fs'
import { DeleteObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sweep } from '../sweeper/sweep.ts'
import { processBatch } from '../worker/batch.ts'
import { lambdaContext, startTestSystem, type TestSystem } from './context.ts'
import { distinct } from './pictures.ts'
import { type Copy, copyModule, missing, type Plan, render } from './terraform.ts'

const photo = readFileSync(new URL('fixtures/grace-hopper.jpg', import.meta.url))
const lacking = missing()

type FunctionName = 'api' | 'worker' | 'sweeper'

/** What a policy grants for others than our own code to use, and why the grant is needed all the same. */
const NOT_OUR_CALLS: Record<FunctionName, Record<string, string>> = {
  api: {
    'logs:CreateLogStream log-group:*': 'the Lambda runtime writes the log',
    'logs:PutLogEvents log-group:*': 'the Lambda runtime writes the log',
    'xray:PutTraceSegments *': 'the Lambda runtime sends traces',
    'xray:PutTelemetryRecords *': 'the Lambda runtime sends traces',
  },
  worker: {
    'logs:CreateLogStream log-group:*': 'the Lambda runtime writes the log',
    'logs:PutLogEvents log-group:*': 'the Lambda runtime writes the log',
    'xray:PutTraceSegments *': 'the Lambda runtime sends traces',
    'xray:PutTelemetryRecords *': 'the Lambda runtime sends traces',
    'sqs:ReceiveMessage jobs': "Lambda's poller reads the queue in the function's name",
    'sqs:DeleteMessage jobs': "Lambda's poller deletes what has succeeded",
    'sqs:GetQueueAttributes jobs': "Lambda's poller scales by the queue's length",
    's3:ListBucket bucket': 'without it S3 answers 403 for a key that is not there',
  },
  sweeper: {
    'logs:CreateLogStream log-group:*': 'the Lambda runtime writes the log',
    'logs:PutLogEvents log-group:*': 'the Lambda runtime writes the log',
    'xray:PutTraceSegments *': 'the Lambda runtime sends traces',
    'xray:PutTelemetryRecords *': 'the Lambda runtime sends traces',
  },
}

/** IAM's name of each SDK command, where the two differ by more than the service. */
const ACTIONS: Record<string, string> = {
  PutObjectCommand: 's3:PutObject',
  GetObjectCommand: 's3:GetObject',
  // A HEAD is a GET to IAM.
  HeadObjectCommand: 's3:GetObject',
  SendMessageCommand: 'sqs:SendMessage',
  SendMessageBatchCommand: 'sqs:SendMessage',
  ChangeMessageVisibilityCommand: 'sqs:ChangeMessageVisibility',
  DeleteObjectCommand: 's3:DeleteObject',
  DeleteItemCommand: 'dynamodb:DeleteItem',
  PutItemCommand: 'dynamodb:PutItem',
  GetItemCommand: 'dynamodb:GetItem',
  UpdateItemCommand: 'dynamodb:UpdateItem',
  QueryCommand: 'dynamodb:Query',
  DetectLabelsCommand: 'rekognition:DetectLabels',
  DetectFacesCommand: 'rekognition:DetectFaces',
  PutEventsCommand: 'events:PutEvents',
}

function resourceOf(action: string, input: Record<string, unknown>): string {
  const [service] = action.split(':')
  if (service === 's3') return `bucket/${String(input['Key']).split('/')[0]}/*`
  if (service === 'dynamodb') return input['IndexName'] ? `table/index/${input['IndexName']}` : 'table'
  return { sqs: 'jobs', events: 'bus', rekognition: '*' }[service ?? ''] ?? 'unknown'
}

/** Every call of each function in flows that go through all of its code, on the embedded AWS. */
async function recordCalls(system: TestSystem): Promise<Record<FunctionName, Set<string>>> {
  const calls = { api: new Set<string>(), worker: new Set<string>(), sweeper: new Set<string>() }
  let who: FunctionName | undefined
  const { s3, sqs, dynamo, eventBridge, rekognition } = system.worker
  for (const client of [s3, sqs, dynamo, eventBridge, rekognition]) {
    const stack = client.middlewareStack as typeof s3.middlewareStack
    stack.add(
      (next, context) => (args) => {
        const action = ACTIONS[context.commandName ?? ''] ?? `unknown:${context.commandName}`
        if (who !== undefined)
          calls[who].add(`${action} ${resourceOf(action, args.input as unknown as Record<string, unknown>)}`)
        return next(args)
      },
      { step: 'initialize', name: 'recorded' },
    )
  }
  const as = async <T>(name: FunctionName, work: () => Promise<T>): Promise<T> => {
    who = name
    try {
      return await work()
    } finally {
      who = undefined
    }
  }
  const work = async (): Promise<void> => {
    const batch = await system.receiveJobs()
    // Twice, as SQS may deliver it.
    for (let delivery = 0; delivery < 2; delivery += 1) {
      await as('worker', () => processBatch(system.worker, batch, lambdaContext()))
    }
  }

  const done = await as('api', () => system.submit(photo, { 'idempotency-key': 'a' }))
  await as('api', () => system.submit(photo, { 'idempotency-key': 'a' }))
  await work()
  await as('api', async () => {
    for (const path of [
      `/${done}?wait=1`,
      `/${done}/thumbnail`,
      `/${done}/original`,
      '',
      '?status=completed',
      '?label=Sharp',
    ])
      expect((await system.app.request(`/images${path}`)).status).toBeLessThan(400)
    await system.app.request('/')
  })

  // A failed image that is tried again, and deleted while a worker is at it.
  const failed = await system.submit(photo.subarray(0, 20_000))
  await work()
  await as('api', async () => {
    expect((await system.app.request(`/images/${failed}/retry`, { method: 'POST' })).status).toBe(202)
  })
  const batch = await system.receiveJobs()
  let deleted = false
  s3.middlewareStack.add(
    (next, context) => async (args) => {
      if (who === 'worker' && !deleted && context.commandName === 'GetObjectCommand') {
        deleted = true
        await as('api', async () => {
          expect((await system.app.request(`/images/${failed}`, { method: 'DELETE' })).status).toBe(204)
        })
        who = 'worker'
      }
      return next(args)
    },
    { step: 'initialize', name: 'deleting' },
  )
  await as('worker', () => processBatch(system.worker, batch, lambdaContext()))

  // A bad image, one whose original is gone, and one that meets trouble.
  await system.submit(photo.subarray(0, 20_000))
  const gone = await system.submit(await distinct(1))
  await s3.send(new DeleteObjectCommand({ Bucket: system.names.bucket, Key: `originals/${gone}` }))
  await work()
  const throttled = await system.submit(await distinct(3))
  rekognition.middlewareStack.add(
    () => async () => {
      const { ThrottlingException } = await import('@aws-sdk/client-rekognition')
      throw new ThrottlingException({ message: 'no', $metadata: {} })
    },
    { step: 'build', name: 'trouble' },
  )
  await work()
  expect((await system.record(throttled)).status).toBe('processing')
  rekognition.middlewareStack.remove('trouble')
  const troubled = await system.submit(await distinct(2))
  rekognition.middlewareStack.add(
    () => async () => {
      const { InvalidS3ObjectException } = await import('@aws-sdk/client-rekognition')
      throw new InvalidS3ObjectException({ message: 'no', $metadata: {} })
    },
    { step: 'build', name: 'trouble' },
  )
  await work()
  await as('sweeper', () => sweep({ ...system.worker, now: () => new Date(Date.now() + 1_000) }, 0))
  expect((await system.record(troubled)).status).toBe('processing')
  return calls
}

/** A policy's grants as `action resource`, the resources by their role. */
function grants(plan: Plan, name: FunctionName): Set<string> {
  const arn = (address: string): string => String(plan.get(address)['arn'])
  const bus = arn('aws_cloudwatch_event_bus.images')
  const roles: [string, string][] = [
    [arn('aws_s3_bucket.images'), 'bucket'],
    [arn('aws_dynamodb_table.images'), 'table'],
    [arn('aws_sqs_queue.jobs'), 'jobs'],
    [bus, 'bus'],
    [arn(`aws_cloudwatch_log_group.${name}`), 'log-group'],
  ]
  const list = (value: string | string[]): string[] => [value].flat()
  const policy = JSON.parse(String(plan.get(`aws_iam_role_policy.${name}`)['policy']))
  const granted = new Set<string>()
  for (const { Effect, Action, Resource } of policy.Statement) {
    expect(Effect).toBe('Allow')
    for (const action of list(Action)) {
      expect(action).not.toContain('*')
      for (const resource of list(Resource)) {
        const [whole, role] =
          roles.find(
            ([whole]) =>
              resource === whole || resource.startsWith(`${whole}/`) || resource.startsWith(`${whole}:`),
          ) ?? []
        granted.add(`${action} ${whole === undefined ? resource : `${role}${resource.slice(whole.length)}`}`)
      }
    }
  }
  return granted
}

describe.skipIf(lacking.length > 0)(`IAM policies (need ${lacking.join(', ') || 'terraform'})`, () => {
  let system: TestSystem
  let copy: Copy
  let plan: Plan
  let calls: Record<FunctionName, Set<string>>
  beforeAll(async () => {
    system = await startTestSystem()
    calls = await recordCalls(system)
    copy = await copyModule()
    plan = (await render(copy))['everything'] as Plan
  }, 120_000)
  afterAll(async () => {
    copy?.remove()
    await system?.stop()
  })

  it.each<[FunctionName, number]>([
    ['api', 11],
    ['worker', 10],
    ['sweeper', 2],
  ])('grant the %s exactly what its code calls', (name, least) => {
    expect(calls[name].size).toBeGreaterThanOrEqual(least)
    const needed = [...calls[name], ...Object.keys(NOT_OUR_CALLS[name])]
    expect([...grants(plan, name)].sort()).toEqual([...new Set(needed)].sort())
  })
})
