import { AsyncLocalStorage } from 'node:async_hooks'
import { readFileSync } from 'node:fs'
import { InvalidS3ObjectException, ThrottlingException } from '@aws-sdk/client-rekognition'
import { DeleteObjectCommand } from '@aws-sdk/client-s3'
import { PutCommand, UpdateCommand } from '@aws-sdk/lib-dynamodb'
import type { SQSEvent } from 'aws-lambda'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { postForms } from '../../api/upload.ts'
import { ESBUILD, ROOT } from '../../build/bundle.ts'
import { missing } from '../../build/terraform.ts'
import { readJobs } from '../../shared/messages.ts'
import { oldPartition } from '../../shared/table.ts'
import { sweep } from '../../sweeper/sweep.ts'
import { processBatch } from '../../worker/batch.ts'
import { lambdaContext, startTestSystem, type TestSystem, watchCalls } from '../context.ts'
import { ownTime } from '../own-time.ts'
import { distinct } from '../pictures/pictures.ts'
import { sendForm, skipped } from '../tools.ts'
import { type Plan, type Plans, renderPlans } from './terraform.ts'
import { bundleOf } from './zips.ts'

const photo = readFileSync(new URL('../fixtures/grace-hopper.jpg', import.meta.url))
const lacking = missing()

type FunctionName = 'api' | 'worker' | 'sweeper'

/** What a policy grants that our own code does not use, and why the grant is needed. */
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
    's3:GetObject bucket/previews/*': 'Rekognition reads it in the name of the function',
  },
  sweeper: {
    'logs:CreateLogStream log-group:*': 'the Lambda runtime writes the log',
    'logs:PutLogEvents log-group:*': 'the Lambda runtime writes the log',
    'xray:PutTraceSegments *': 'the Lambda runtime sends traces',
    'xray:PutTelemetryRecords *': 'the Lambda runtime sends traces',
  },
}

/** Commands that are in bundles by way of the SDK alone, and what brings them along. */
const BROUGHT_ALONG: Record<string, string> = {
  QueryCommand: 'the paginators of the document client, whether or not one of them is used',
  ScanCommand: 'the paginators of the document client, whether or not one of them is used',
  DescribeEndpointsCommand: 'endpoint discovery, which a client of DynamoDB does only if it is asked to',
  CreateSessionCommand: 'directory buckets (S3 Express), which have names of their own',
}

/** The commands that a function's own code constructs, as it stands in the bundle: without what nothing reaches. */
async function commandsOf(name: FunctionName, entry = 'handler'): Promise<string[]> {
  const { outputFiles } = await build({
    ...ESBUILD,
    ...{ minify: false, sourcemap: false, packages: 'external', plugins: [], write: false },
    absWorkingDir: ROOT,
    entryPoints: [`${name}/${entry}.ts`],
    outdir: '.',
  })
  const text = (outputFiles ?? []).map((file) => file.text).join('\n')
  const constructed = [...text.matchAll(/new (\w+Command)\d*\(|paginate([A-Za-z]+)\d*\(/g)].map(
    ([, command, pages]) => command ?? `${pages}Command`,
  )
  // The document client has names of its own for DynamoDB's commands.
  return [...new Set(constructed)].map((command) =>
    command.replace(/^(Get|Put|Update|Delete|BatchGet|BatchWrite)Command$/, '$1ItemCommand'),
  )
}

/** IAM's name of each SDK command, where the two differ by more than the service. */
const ACTIONS: Record<string, string> = {
  PutObjectCommand: 's3:PutObject',
  GetObjectCommand: 's3:GetObject',
  // A HEAD is a GET to IAM.
  HeadObjectCommand: 's3:GetObject',
  HeadBucketCommand: 's3:ListBucket',
  SendMessageCommand: 'sqs:SendMessage',
  ChangeMessageVisibilityCommand: 'sqs:ChangeMessageVisibility',
  DeleteObjectCommand: 's3:DeleteObject',
  DeleteItemCommand: 'dynamodb:DeleteItem',
  PutItemCommand: 'dynamodb:PutItem',
  GetItemCommand: 'dynamodb:GetItem',
  UpdateItemCommand: 'dynamodb:UpdateItem',
  QueryCommand: 'dynamodb:Query',
  BatchGetItemCommand: 'dynamodb:BatchGetItem',
  BatchWriteItemCommand: 'dynamodb:BatchWriteItem',
  DetectLabelsCommand: 'rekognition:DetectLabels',
  DetectFacesCommand: 'rekognition:DetectFaces',
  DetectModerationLabelsCommand: 'rekognition:DetectModerationLabels',
  DetectTextCommand: 'rekognition:DetectText',
  PutEventsCommand: 'events:PutEvents',
}

function resourceOf(action: string, input: Record<string, unknown>): string {
  const [service] = action.split(':')
  if (service === 's3' && input['Key'] === undefined) return 'bucket'
  if (service === 's3') return `bucket/${String(input['Key']).split('/')[0]}/*`
  if (service === 'dynamodb' && input['IndexName']) return `table/index/${input['IndexName']}`
  if (service === 'dynamodb') {
    const { TableName, RequestItems } = input as { TableName?: string; RequestItems?: object }
    const tables = TableName === undefined ? Object.keys(RequestItems ?? {}) : [TableName]
    return tables.map((table) => (table.endsWith('-labels') ? 'labels' : 'table')).join()
  }
  if (service === 'sqs') return String(input['QueueUrl']).endsWith('-dead') ? 'jobs-dead' : 'jobs'
  return { events: 'bus', rekognition: '*' }[service ?? ''] ?? 'unknown'
}

/** What no item of DynamoDB holds: 1,000 labels with five instances each. */
const LABELS = Array.from({ length: 1_000 }, (_, index) => ({
  Name: `Label ${index}`,
  Confidence: 99.5 - index / 100,
  Instances: Array.from({ length: 5 }, () => ({
    BoundingBox: { Left: 0.123456789, Top: 0.123456789, Width: 0.123456789, Height: 0.123456789 },
    Confidence: 98.76543210987,
  })),
}))

type Calls = Record<FunctionName, Set<string>>

/** Retention and a quota, so that these too show what they call. */
async function startRecordedSystem(calls: Calls): Promise<TestSystem> {
  const system: TestSystem = await startTestSystem({
    api: {
      retentionDays: 30,
      dailyImageQuota: 1_000,
      // Signing a form is no command. What is done with it is done by its signer's right.
      presignPost: (key, ...terms) => {
        calls.api.add(`s3:PutObject ${resourceOf('s3:PutObject', { Key: key })}`)
        return postForms(system.worker.s3, system.names.bucket)(key, ...terms)
      },
    },
  })
  return system
}

/** Every call of each function in flows that go through all of its code, on the embedded AWS. */
async function recordCalls(system: TestSystem, calls: Calls): Promise<void> {
  const who = new AsyncLocalStorage<FunctionName>()
  /** What to do before a call of a function: throw, and it never leaves. */
  let before: (command: string) => void | Promise<void> = () => {}
  /** What to make of its answer. */
  let after: (command: string, output: object) => void = () => {}
  const { s3, dynamo } = system.worker
  Object.assign(watchCalls(system), {
    before: async (command: string, input: Record<string, unknown>) => {
      const caller = who.getStore()
      if (caller === undefined) return
      const action = ACTIONS[command] ?? `unknown:${command}`
      for (const resource of resourceOf(action, input).split(',')) calls[caller].add(`${action} ${resource}`)
      await before(command)
    },
    after: (command: string, output: object) => {
      if (who.getStore() !== undefined) after(command, output)
    },
  })
  const as = <T>(name: FunctionName, work: () => Promise<T>): Promise<T> => who.run(name, work)
  const ask = (path: string, method = 'GET') => as('api', async () => system.app.request(path, { method }))
  const run = (batch: SQSEvent, remainingMs?: number) =>
    as('worker', () => processBatch(system.worker, batch, lambdaContext(remainingMs)))
  const work = async (): Promise<void> => {
    const batch = await system.receiveJobs()
    // Twice, as SQS may deliver it.
    for (let delivery = 0; delivery < 2; delivery += 1) await run(batch)
  }
  const statusOf = async (imageId: string): Promise<string> => (await system.record(imageId)).status
  /** Gets a form, and posts the image with it unless that is not to be. */
  const upload = async (image: Buffer, posted = true): Promise<string> => {
    const answer = await as('api', async () =>
      system.app.request('/uploads', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ contentType: 'image/png', bytes: image.length }),
      }),
    )
    expect(answer.status).toBe(201)
    const { imageId, upload } = (await answer.json()) as {
      imageId: string
      upload: { url: string; fields: Record<string, string> }
    }
    if (posted) expect((await sendForm(upload, image)).status).toBe(204)
    return imageId
  }
  const fail = (commands: string[], error: Error) => {
    before = (command) => {
      if (commands.includes(command)) throw error
    }
  }
  const removeOriginal = (imageId: string) =>
    s3.send(new DeleteObjectCommand({ Bucket: system.names.bucket, Key: `originals/${imageId}` }))
  const useUpAttempts = (imageId: string) =>
    dynamo.send(
      new UpdateCommand({
        TableName: system.names.table,
        Key: { imageId },
        UpdateExpression: 'SET attempts = :all',
        ExpressionAttributeValues: { ':all': system.worker.maxAttempts },
      }),
    )

  // A good image, submitted twice, looked at and listed in every way.
  const done = await as('api', () => system.submit(photo, { 'idempotency-key': 'a' }))
  await as('api', () => system.submit(photo, { 'idempotency-key': 'a' }))
  await work()
  for (const path of [
    ...[`/images/${done}?wait=1`, `/images/${done}/thumbnail`, `/images/${done}/original`],
    `/images/${done}/preview`,
    ...[
      '/images',
      '/images?status=completed',
      '/images?status=failed',
      '/images?label=Portrait%20Orientation',
      '/',
    ],
  ])
    expect((await ask(path)).status, path).toBeLessThan(400)

  // Images of the version before, whose labels are with the records; one is deleted, and taken out of them by the sweeper.
  for (const number of [15, 16]) {
    const old = await system.submit(await distinct(number))
    await work()
    const entry = { imageId: `label#${old}`, ownerLabel: oldPartition('anonymous', 'Before'), target: old }
    await dynamo.send(new PutCommand({ TableName: system.names.table, Item: { ...entry, confidence: 99 } }))
    await dynamo.send(
      new UpdateCommand({
        TableName: system.names.table,
        Key: { imageId: old },
        UpdateExpression: 'SET rekognitionLabels = :labels REMOVE #index',
        ExpressionAttributeNames: { '#index': 'index' },
        ExpressionAttributeValues: { ':labels': [{ Name: 'Before', Confidence: 99 }] },
      }),
    )
  }
  const ofBefore = (await (await ask('/images?label=Before')).json()) as { items: { imageId: string }[] }
  expect(ofBefore.items).toHaveLength(2)
  for (const { imageId } of ofBefore.items)
    expect((await ask(`/images/${imageId}`, 'DELETE')).status).toBe(204)

  // Results that are too large for the record.
  const large = await system.submit(await distinct(4))
  after = (command, output) => {
    if (command === 'DetectLabelsCommand') Object.assign(output, { Labels: LABELS })
  }
  await work()
  after = () => {}
  const shown = await (await ask(`/images/${large}`)).json()
  expect(shown).toHaveProperty(['rekognitionLabels', 999, 'Instances'])

  // The same bytes again: nothing is paid for, and the results come from where they are.
  const same = await system.submit(await distinct(4))
  before = (command) => {
    if (command.startsWith('Detect')) throw new Error('paid for twice')
  }
  await work()
  before = () => {}
  expect(await system.record(same)).toMatchObject({
    ...{ reused: true, analysis: { key: `analyses/${same}.json` } },
  })

  // Everything that Rekognition is asked.
  const all = await as('api', async () =>
    system.app.request('/images?analyses=labels,faces,moderation,text', {
      method: 'POST',
      headers: { 'content-type': 'image/png' },
      body: new Uint8Array(await distinct(10)),
    }),
  )
  expect(all.status).toBe(202)

  // One that is uploaded to S3 directly, whose arrival is its job; and one whose upload is deleted.
  const uploaded = await upload(await distinct(11))
  await work()
  expect(await system.record(uploaded)).toMatchObject({
    ...{ status: 'completed', original: { key: `originals/${uploaded}` } },
  })
  const unwanted = await upload(await distinct(12))
  expect((await ask(`/images/${unwanted}`, 'DELETE')).status).toBe(204)
  await work()

  // A failed image that is tried again, and deleted while a worker is at it.
  const failed = await system.submit(photo.subarray(0, 20_000))
  await work()
  expect((await ask(`/images/${failed}/retry`, 'POST')).status).toBe(202)
  let deleted = false
  before = async (command) => {
    if (command !== 'GetObjectCommand' || deleted) return
    deleted = true
    expect((await ask(`/images/${failed}`, 'DELETE')).status).toBe(204)
  }
  await run(await system.receiveJobs())
  before = () => {}
  expect(deleted).toBe(true)

  // A bad image, and one whose original is gone.
  await system.submit(photo.subarray(0, 20_000))
  await removeOriginal(await system.submit(await distinct(1)))
  await work()
  // One whose original goes before Rekognition reads it.
  const unread = await system.submit(await distinct(9))
  before = async (command) => {
    if (!command.startsWith('Detect')) return
    await who.exit(() => removeOriginal(unread))
    throw new InvalidS3ObjectException({ message: 'no', $metadata: {} })
  }
  await work()
  before = () => {}
  expect(await system.record(unread)).toMatchObject({ failure: { code: 'ORIGINAL_MISSING' } })

  // One that is given up, and whose job comes back from the dead-letter queue.
  const redriven = await system.submit(await distinct(5))
  await useUpAttempts(redriven)
  const last = await system.receiveJobs()
  await run(last)
  expect(await statusOf(redriven)).toBe('failed')
  const [body = ''] = await system.deadLetters()
  await run({ Records: last.Records.map((record) => ({ ...record, body })) })
  expect(await statusOf(redriven)).toBe('completed')

  // What is left behind: images without a job, an original, attempts left or their event, deletions, and uploads
  // whose job is lost, or that never came.
  const left = []
  for (let number = 6; number < 10; number += 1) left.push(await system.submit(await distinct(number)))
  const [waiting = '', missing = '', exhausted = '', unannounced = ''] = left
  const arrived = await upload(await distinct(13))
  const expected = await upload(await distinct(14), false)
  const lost = await system.receiveJobs()
  const jobs = lost.Records.flatMap(({ body }) => readJobs(body)).map((job): string => job.imageId)
  expect(jobs.sort()).toEqual([...left, arrived].sort())
  await removeOriginal(missing)
  await useUpAttempts(exhausted)
  fail(['PutEventsCommand'], new Error('EventBridge is away'))
  await run({ Records: lost.Records.filter(({ body }) => body.includes(unannounced)) })
  before = () => {}
  expect((await ask(`/images/${done}`, 'DELETE')).status).toBe(204)
  const sweepAhead = (times: number) => {
    const now = () => new Date(Date.now() + times * system.worker.sweepAfterMs)
    return as('sweeper', () => sweep({ ...system.worker, now, giveUpMs: 14 * 86_400_000 }))
  }
  expect(await sweepAhead(2)).toEqual({
    ...{ requeued: 2, exhausted: 1, announced: 1, removed: 0, failed: 0 },
  })
  expect(await sweepAhead(5)).toEqual({
    // Removed are also the two that were deleted while a worker was at it, and before it was.
    ...{ requeued: 2, exhausted: 0, announced: 0, removed: 7, failed: 0 },
  })
  expect(await Promise.all([waiting, exhausted, unannounced, arrived].map(statusOf))).toEqual([
    ...['pending', 'failed', 'completed', 'awaiting_upload'],
  ])
  for (const gone of [missing, expected])
    expect((await system.app.request(`/images/${gone}`)).status).toBe(404)
  await work()
  expect(await statusOf(arrived)).toBe('completed')

  // Last, because SQS delivers these again: one that Rekognition cannot read, and one that is throttled until
  // its batch is out of time.
  const troubled = await system.submit(await distinct(2))
  fail(
    ['DetectLabelsCommand', 'DetectFacesCommand'],
    new InvalidS3ObjectException({ message: 'no', $metadata: {} }),
  )
  await work()
  before = () => {}
  expect(await statusOf(troubled)).toBe('processing')
  const throttled = await system.submit(await distinct(3))
  fail(
    ['DetectLabelsCommand', 'DetectFacesCommand'],
    new ThrottlingException({ message: 'no', $metadata: {} }),
  )
  ownTime(system)
  const batch = await system.receiveJobs()
  expect((await run(batch, 1_500)).batchItemFailures).toHaveLength(1)
  expect(await statusOf(throttled)).toBe('processing')
}

/** A policy's grants as `action resource`, the resources by their role. */
function grants(plan: Plan, name: FunctionName): Set<string> {
  const arn = (address: string): string => String(plan.get(address)['arn'])
  const bus = arn('aws_cloudwatch_event_bus.images')
  const roles: [string, string][] = [
    [arn('aws_s3_bucket.images'), 'bucket'],
    [arn('aws_dynamodb_table.images'), 'table'],
    [arn('aws_dynamodb_table.labels'), 'labels'],
    [arn('aws_sqs_queue.jobs'), 'jobs'],
    [arn('aws_sqs_queue.jobs_dead'), 'jobs-dead'],
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

describe.skipIf(lacking.length > 0)(`IAM policies${skipped(lacking)}`, () => {
  let system: TestSystem
  let plans: Plans
  const calls: Calls = { api: new Set(), worker: new Set(), sweeper: new Set() }
  beforeAll(async () => {
    system = await startRecordedSystem(calls)
    await recordCalls(system, calls)
    plans = await renderPlans()
  })
  afterAll(async () => {
    await system?.stop()
  })

  it.each<[FunctionName, number]>([
    ['api', 16],
    ['worker', 20],
    ['sweeper', 12],
  ])('grant the %s exactly what its code calls', (name, least) => {
    expect(calls[name].size).toBeGreaterThanOrEqual(least)
    const needed = [...calls[name], ...Object.keys(NOT_OUR_CALLS[name])]
    expect([...grants(plans.everything, name)].sort()).toEqual([...new Set(needed)].sort())
  })
  // The flows above are written by hand, and may leave out a call that the deployed code makes.
  it.each<FunctionName>(['api', 'worker', 'sweeper'])(
    "grant the %s exactly the actions of its bundle's commands",
    async (name) => {
      const commands = await commandsOf(name)
      const { metafile } = await bundleOf(name)
      const bundled = Object.values(metafile.outputs)
        .flatMap(({ inputs }) => Object.entries(inputs))
        .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
        .flatMap(([file]) => /\/client-[a-z0-9-]+\/dist-es\/commands\/(\w+)\.js$/.exec(file)?.[1] ?? [])
      // A command that is bundled, and is not seen constructed, is constructed in a way that this would overlook.
      expect([...new Set([...commands, ...Object.keys(BROUGHT_ALONG)])].sort()).toEqual(
        [...new Set([...bundled, ...Object.keys(BROUGHT_ALONG)])].sort(),
      )
      const actions = commands.map((command) => ACTIONS[command] ?? `unknown:${command}`)
      const others = Object.keys(NOT_OUR_CALLS[name])
      const granted = [...grants(plans.everything, name)].filter((grant) => !others.includes(grant))
      expect([...new Set(actions)].sort()).toEqual(
        [...new Set(granted.map((grant) => grant.split(' ')[0]))].sort(),
      )
    },
  )
  it('grant the worker outside Lambda all that it calls', async () => {
    const actions: Record<string, string> = {
      ...ACTIONS,
      ReceiveMessageCommand: 'sqs:ReceiveMessage',
      DeleteMessageBatchCommand: 'sqs:DeleteMessage',
      ChangeMessageVisibilityBatchCommand: 'sqs:ChangeMessageVisibility',
      GetQueueAttributesCommand: 'sqs:GetQueueAttributes',
    }
    const granted = [...grants(plans.everything, 'worker')].map((grant) => grant.split(' ')[0])
    const commands = await commandsOf('worker', 'main')
    expect(commands).toContain('ReceiveMessageCommand')
    expect(commands.filter((command) => !granted.includes(actions[command]))).toEqual([])
  })
  it('grant no analysis that a deployment does not offer', () => {
    const analyses = (plan: Plan) =>
      [...grants(plan, 'worker')].filter((grant) => grant.startsWith('rekognition'))
    expect(analyses(plans.frugal)).toEqual(['rekognition:DetectLabels *'])
    expect(analyses(plans.defaults)).toHaveLength(4)
  })
  it('let a worker store previews, and Rekognition read them, where a deployment makes some', () => {
    const previews = (plan: Plan) =>
      [...grants(plan, 'worker')].filter((grant) => /(Put|Get)Object.*preview/.test(grant))
    expect(previews(plans.frugal)).toEqual([])
    expect(previews(plans.defaults)).toHaveLength(2)
  })
})
