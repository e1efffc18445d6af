import { spawn } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { DescribeTimeToLiveCommand, DynamoDBClient, UpdateItemCommand } from '@aws-sdk/client-dynamodb'
import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { FunctionName } from '../../build/bundle.ts'
import { EMULATORS, KINDS, kindsThatName } from '../../build/emulators.ts'
import { filesThatFollow } from '../../build/inputs.ts'
import {
  type Change,
  type Copy,
  copyModule,
  MODULE,
  missing,
  type Outcome,
  onPath,
  planAgain,
} from '../../build/terraform.ts'
import { resourceNames, WORKER_TIMEOUT_SECONDS } from '../../infrastructure/resources.ts'
import { startRekognition } from '../../rekognition/service.ts'
import { readApiConfig, readAuthConfig, readSweeperConfig, readWorkerConfig } from '../../shared/config.ts'
import { LISTED_ATTRIBUTES, TIME_TO_LIVE } from '../../shared/table.ts'
import { freePort, sendForm, skipped } from '../tools.ts'
import { until } from '../until.ts'
import { type GatewayAnswer, gatewayEvent, receive, startBundle, stopMapping, toRecord } from './functions.ts'
import { whatTheLocalSystemCreates } from './local-resources.ts'
import { moduleText, Plan, type Plans, RENDERED, renderPlans } from './terraform.ts'
import { bundleOf } from './zips.ts'

const root = resolve(import.meta.dirname, '../..')

const region = 'us-east-1'
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
const variables = [
  '-var-file=emulators/moto.tfvars',
  // moto knows no callers.
  '-var=auth=none',
  '-var=subscriber_queue=true',
  '-var=subscriber_webhook={"url":"https://hooks.example/images","token":"secret"}',
  '-var=cors_origins=["https://app.example"]',
  '-var=retention_days=30',
  // To IAM it is the same key as the provider's default tag.
  '-var=tags={"application":"photos"}',
]

/** What moved.tf need not know. */
const NEWER_THAN_THE_MODULE = new Set([
  'aws_dynamodb_table.labels',
  ...['api', 'worker', 'sweeper'].map((name) => `aws_lambda_alias.${name}`),
])

/** Resources of their own, before there was one table of alarms: their name and index, and the key in the table. */
function movedAlarms(): [name: string, index: string | number, key: string][] {
  const text = readFileSync(join(root, MODULE, 'alarms.tf'), 'utf8')
  const moves = text.matchAll(/from = aws_cloudwatch_metric_alarm\.(\w+)\[(.+)\]\n.*pipeline\["(.+)"\]/g)
  return [...moves].map(([, name = '', index = '', key = '']) => [name, JSON.parse(index), key])
}

/** What is read of a terraform.tfstate. */
interface State {
  outputs: Record<string, { value: string }>
  resources: {
    type: string
    name: string
    module?: string
    instances: { index_key?: string | number; attributes: Record<string, unknown> }[]
  }[]
}

interface Deployment {
  copy: Copy
  endpoint: string
  env: Record<string, string>
  applied: Promise<Outcome>
}

const undo: (() => void)[] = []
afterAll(() => {
  for (const step of undo.reverse()) step()
})

let begun: Promise<Deployment> | undefined
/** Starts moto and Terraform the first time; more than a minute of it is the provider's own waiting. */
const deployment = (): Promise<Deployment> => {
  begun ??= deploy()
  return begun
}

async function deploy(): Promise<Deployment> {
  const port = await freePort()
  const endpoint = `http://127.0.0.1:${port}`
  const env = {
    AWS_ENDPOINT_URL: endpoint,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    AWS_REGION: region,
  }
  const moto = spawn(onPath('moto_server') ?? 'moto_server', ['-H', '127.0.0.1', '-p', String(port)], {
    env: { ...process.env, MOTO_IAM_LOAD_MANAGED_POLICIES: 'true' },
    stdio: 'ignore',
  })
  undo.push(() => moto.kill('SIGKILL'))
  const copy = await copyModule('infrastructure')
  undo.push(copy.remove)
  await until('moto answers', async () => {
    if (moto.exitCode !== null) throw new Error(`moto_server ended with ${moto.exitCode}.`)
    return (await fetch(`${endpoint}/moto-api/`).catch(() => undefined))?.ok || undefined
  })
  await copy.serveProvider(env)
  return {
    copy,
    endpoint,
    env,
    applied: copy.terraform(['apply', '-auto-approve', '-input=false', ...variables], env),
  }
}

it('the root passes on all that its module takes and gives, and the tables in its README have it', () => {
  const files = filesThatFollow()
  const found = Object.keys(files).map((path) => [path, readFileSync(join(root, path), 'utf8')])
  expect(Object.fromEntries(found), 'run: npm run inputs').toEqual(files)
  // Each row in one line, also of a description that has dollars.
  const rows = files[`${MODULE}/README.md`]?.match(
    /^\| `monthly_budget_usd` .* at \$1 for 1,000 calls.* \|$/m,
  )
  expect(rows).toHaveLength(1)
})

it('the module leaves its provider to its caller, who may then use it with for_each', () => {
  expect(moduleText()).not.toMatch(/^provider /m)
})

it('takes null for what is so by default, as a root passes it on that leaves a setting open', () => {
  const variables = [...moduleText().matchAll(/^variable "(\w+)" \{\n([\s\S]*?)^\}/gm)]
  const others = variables.filter(
    ([, , text = '']) => !/^ {2}(default += null|nullable += false)$/m.test(text),
  )
  expect(variables.length).toBeGreaterThan(60)
  expect(others.map(([, name]) => name)).toEqual([])
})

const lacking = missing()
const lackingMoto = missing('moto_server')
describe.skipIf(lacking.length > 0)(`the Terraform configuration${skipped(lacking)}`, () => {
  let whole: Copy
  let copy: Copy
  let plans: Plans

  beforeAll(async () => {
    // It runs beside the tests here.
    whole = lackingMoto.length === 0 ? (await deployment()).copy : await copyModule('infrastructure')
    undo.push(whole.remove)
    copy = await copyModule(MODULE)
    if (lackingMoto.length === 0) copy.shareProvider(whole)
    else await copy.serveProvider()
    plans = await renderPlans(copy)
  })
  afterAll(() => copy?.remove())

  it('is formatted', async () => {
    const { stdout } = await whole.terraform(['fmt', '-check', '-recursive', '-list=true'])
    expect(stdout).toBe('')
  })

  // Where there is an emulator, plans for it say the same.
  if (lackingMoto.length > 0)
    it('is valid', async () => {
      const { stdout, stderr } = await whole.terraform(['validate', '-json'])
      expect(JSON.parse(stdout), stderr).toMatchObject({ valid: true, error_count: 0, warning_count: 0 })
    })

  it('passes its own tests', async () => {
    // Those that are rendered have passed, or there were no plans.
    const others = readdirSync(join(copy.folder, 'tests')).filter(
      (file) => file.endsWith('.hcl') && !RENDERED.endsWith(file),
    )
    const { status, stdout, stderr } = await copy.terraform([
      'test',
      ...others.map((file) => `-filter=${join('tests', file)}`),
    ])
    expect(stdout.match(/run "\w+"\.\.\. pass/g)?.length, stdout + stderr).toBeGreaterThan(20)
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  })

  it('makes the tables that the local system has', async () => {
    const { tables } = await whatTheLocalSystemCreates()
    expect(Object.keys(tables)).toHaveLength(2)
    for (const name of ['images', 'labels']) {
      const table = plans.defaults.get(`aws_dynamodb_table.${name}`) as unknown as {
        name: string
        billing_mode: string
        hash_key: string
        range_key: string | null
        attribute: { name: string; type: string }[]
        ttl: { attribute_name: string }[]
        global_secondary_index?: {
          name: string
          hash_key: string
          range_key: string
          projection_type: string
          non_key_attributes: string[] | null
        }[]
      }
      const indexes = table.global_secondary_index ?? []
      const made = tables[table.name]
      expect({
        billing: table.billing_mode,
        keys: [table.hash_key, ...(table.range_key ? [table.range_key] : [])],
        attributes: byName(table.attribute),
        indexes: byName(
          indexes.map((index) => ({
            name: index.name,
            keys: [index.hash_key, index.range_key],
            projection: index.projection_type,
            projected: [...(index.non_key_attributes ?? [])].sort(),
          })),
        ),
      }).toEqual({
        billing: made?.BillingMode,
        keys: made?.KeySchema?.map((key) => key.AttributeName),
        attributes: byName(
          made?.AttributeDefinitions?.map(({ AttributeName = '', AttributeType = '' }) => ({
            name: AttributeName,
            type: AttributeType,
          })),
        ),
        indexes: byName(
          (made?.GlobalSecondaryIndexes ?? []).map(({ IndexName = '', KeySchema, Projection }) => ({
            name: IndexName,
            keys: KeySchema?.map((key) => key.AttributeName),
            projection: Projection?.ProjectionType,
            projected: [...(Projection?.NonKeyAttributes ?? [])].sort(),
          })),
        ),
      })
      expect(table.ttl.map((ttl) => ttl.attribute_name)).toEqual([TIME_TO_LIVE])
      const byOwner = indexes.find((index) => index.name === 'byOwner')
      if (name === 'images')
        expect(byOwner?.non_key_attributes?.toSorted()).toEqual(LISTED_ATTRIBUTES.toSorted())
    }
  })

  it('makes the queues that the local system has', async () => {
    const { queues } = await whatTheLocalSystemCreates()
    const { jobQueue, deadQueue } = resourceNames()
    const jobs = plans.defaults.get('aws_sqs_queue.jobs')
    const dead = plans.defaults.get('aws_sqs_queue.jobs_dead')
    expect(plans.defaults.get('aws_lambda_function.worker')['timeout']).toBe(WORKER_TIMEOUT_SECONDS)
    expect([jobs['name'], dead['name']]).toEqual([jobQueue, deadQueue])
    expect({
      VisibilityTimeout: String(jobs['visibility_timeout_seconds']),
      MessageRetentionPeriod: String(jobs['message_retention_seconds']),
      maxReceiveCount: JSON.parse(jobs['redrive_policy'] as string).maxReceiveCount,
    }).toEqual({
      VisibilityTimeout: queues[jobQueue]?.['VisibilityTimeout'],
      MessageRetentionPeriod: queues[jobQueue]?.['MessageRetentionPeriod'],
      maxReceiveCount: JSON.parse(queues[jobQueue]?.['RedrivePolicy'] ?? '{}').maxReceiveCount,
    })
    expect(String(dead['message_retention_seconds'])).toBe(queues[deadQueue]?.['MessageRetentionPeriod'])
  })

  it('makes jobs of the uploads that the local system makes jobs of', async () => {
    const { uploads } = await whatTheLocalSystemCreates()
    const [queue, another] = plans.defaults.get('aws_s3_bucket_notification.images')['queue'] as {
      events: string[]
      filter_prefix: string
      filter_suffix: string | null
      queue_arn: string
    }[]
    expect(queue).toMatchObject({
      events: uploads?.Events,
      filter_prefix: uploads?.Filter?.Key?.FilterRules?.find(({ Name }) => Name === 'prefix')?.Value,
      filter_suffix: null,
      queue_arn: plans.defaults.get('aws_sqs_queue.jobs')['arn'],
    })
    expect(another).toBeUndefined()
  })

  it('tells each function what shared/config.ts reads, and by default the numbers that it has by itself', () => {
    const names = [
      ...['IMAGE_BUCKET', 'IMAGE_TABLE', 'JOB_QUEUE_URL', 'SWEEP_AFTER_SECONDS', 'NODE_OPTIONS'],
      'METRICS_NAMESPACE',
    ]
    const sweeping = [...names, 'DEAD_LETTER_QUEUE_URL', 'EVENT_BUS_NAME', 'MAX_ATTEMPTS']
    const api = environmentOf(plans.defaults, 'api')
    const worker = environmentOf(plans.defaults, 'worker')
    const sweeper = environmentOf(plans.defaults, 'sweeper')
    const ofApi = ['MAX_IMAGE_BYTES', 'MAX_UPLOAD_BYTES', 'MAX_WAIT_SECONDS']
    expect(Object.keys(api).sort()).toEqual([...names, 'ANALYSES', 'AUTH', 'FACES', ...ofApi].sort())
    const ofWorker = ['MALLOC_ARENA_MAX', 'MAX_LABELS', 'MIN_CONFIDENCE', 'PREVIEW', 'REKOGNITION_TPS']
    expect(Object.keys(worker).sort()).toEqual([...sweeping, ...ofWorker].sort())
    expect(Object.keys(sweeper).sort()).toEqual([...sweeping, 'GIVE_UP_DAYS'].sort())

    const withoutNumbers = (environment: Record<string, string>) =>
      Object.fromEntries(Object.entries(environment).filter(([, value]) => !/^[\d.]+$/.test(value)))
    const { ANALYSES: _all, ...numberless } = withoutNumbers(api)
    // 495 executions for the API, less a burst of 100, for 50 requests a second.
    expect(readApiConfig(api)).toEqual({ ...readApiConfig(numberless), MAX_WAIT_SECONDS: 7 })
    expect(readSweeperConfig(sweeper)).toEqual(readSweeperConfig(withoutNumbers(sweeper)))
    const { REKOGNITION_TPS, ...config } = readWorkerConfig(worker)
    expect(config).toEqual(readWorkerConfig(withoutNumbers(worker)))
    // 50 calls a second for 10 workers.
    expect(REKOGNITION_TPS).toBe(5)
    expect([readAuthConfig(api), readAuthConfig(environmentOf(plans.jwt, 'api'))]).toEqual([
      { AUTH: 'iam' },
      { AUTH: 'jwt', JWT_ISSUER: 'https://id.example', JWT_AUDIENCE: 'image-analyzer' },
    ])
  })

  it('tells the worker which labels and whether previews are wanted', () => {
    const config = (plan: Plan) => readWorkerConfig(environmentOf(plan, 'worker'))
    expect(config(plans.frugal)).toEqual({
      ...config(plans.defaults),
      ...{ PREVIEW: false, MIN_CONFIDENCE: 80.5, MAX_LABELS: 20 },
    })
  })

  it('tells the API what callers may ask for', () => {
    const config = (plan: Plan) => readApiConfig(environmentOf(plan, 'api'))
    expect(config(plans.everything)).toEqual({
      ...config(plans.defaults),
      ...{ RETENTION_DAYS: 30, CORS_ORIGINS: ['https://app.example'] },
    })
    expect(config(plans.frugal)).toEqual({
      ...config(plans.defaults),
      ...{ ANALYSES: ['labels'], DAILY_IMAGE_QUOTA: 1_000, RETENTION_DAYS: 7 },
      ...{ MAX_IMAGE_BYTES: 1_000_000, MAX_UPLOAD_BYTES: 20_000_000 },
    })
  })

  it('tags all that can have tags, and bounds every role', () => {
    const lacking = (name: string, value: unknown) => {
      const able = plans.everything.resources.filter(({ after }) => name in after)
      const without = able.filter(({ after }) => !isDeepStrictEqual(after[name], value))
      return { able: able.length, without: without.map(({ address }) => address) }
    }
    expect(lacking('tags', { team: 'images' })).toEqual({
      able: expect.toSatisfy((count) => count > 35),
      without: [],
    })
    const bounds = 'arn:aws:iam::111122223333:policy/bounds'
    expect(lacking('permissions_boundary', bounds)).toEqual({ able: 5, without: [] })
  })

  it('deploys the gateway again when authorisation or its methods change, and not otherwise', () => {
    const snapshot = (plan: Plan) => plan.get('aws_api_gateway_deployment.api')['triggers']
    expect(snapshot(plans.jwt)).not.toEqual(snapshot(plans.defaults))
    // Preflights of the origins that it names are let in.
    expect(snapshot(plans.everything)).not.toEqual(snapshot(plans.defaults))
    expect(snapshot(plans.frugal)).toEqual(snapshot(plans.defaults))
  })
})

describe.skipIf(lackingMoto.length > 0)(`the deployed system, on moto${skipped(lackingMoto)}`, () => {
  let copy: Copy
  let endpoint: string
  let env: Record<string, string>

  beforeAll(async () => {
    ;({ copy, endpoint, env } = await deployment())
  })

  it('is applied in one go', async () => {
    const { status, stdout, stderr } = await (await deployment()).applied
    expect(status, stderr).toBe(0)
    expect(stdout).toContain('anybody on the internet may upload images')
    expect(stdout).toMatch(/Apply complete! Resources: \d+ added, 0 changed, 0 destroyed/)
    expect(await kindsThatName(endpoint, 'image-analyzer')).toEqual(KINDS)
  })

  it.each([
    // Within LocalStack's containers localhost is the container.
    ['localstack', 'http://localhost.localstack.cloud:4566'],
    ['ministack', 'http://localhost:4566'],
  ])('can be planned for %s, whose functions and callers reach it by one name', async (emulator, name) => {
    const { status, stdout, stderr } = await copy.terraform(
      ['plan', '-input=false', '-state=nothing.tfstate', `-var-file=emulators/${emulator}.tfvars`],
      env,
    )
    expect(status, stderr).toBe(0)
    expect(stdout).toMatch(/Plan: \d\d to add, 0 to change, 0 to destroy/)
    // Of the flag above, and that they are open to everybody.
    expect(stdout.match(/Warning: .*/g)).toEqual([
      'Warning: Deprecated flag: -state',
      'Warning: Check block assertion failed',
    ])
    // From there a browser has the page; tests/settings.tftest.hcl says that the functions have the same name.
    expect(/allowed_origins += \[\s+\+ "(.+)"/.exec(stdout)?.[1]).toBe(name)
    // Over plain HTTP it would shut everybody out.
    expect(stdout).not.toContain('TlsOnly')
  })

  it('has nothing left to change in a second plan, where the state knows all by its addresses from before the module and the worker is paused', async () => {
    const state = JSON.parse(readFileSync(join(copy.folder, 'terraform.tfstate'), 'utf8')) as State
    const alarms = state.resources.find(({ type }) => type === 'aws_cloudwatch_metric_alarm')
    if (alarms === undefined) throw new Error('There are no alarms.')
    for (const [name, index, key] of movedAlarms()) {
      const instances = alarms.instances.filter(({ index_key }) => index_key === key)
      alarms.instances = alarms.instances.filter((one) => !instances.includes(one))
      state.resources.push({
        ...alarms,
        name,
        instances: instances.map((one) => ({ ...one, index_key: index })),
      })
    }
    for (const resource of state.resources) {
      if (!NEWER_THAN_THE_MODULE.has(`${resource.type}.${resource.name}`)) delete resource.module
    }
    writeFileSync(join(copy.folder, 'before.tfstate'), JSON.stringify(state))
    // As an operator pauses the worker, who does not want it started by an apply.
    const mapping = state.resources.find(({ type }) => type === 'aws_lambda_event_source_mapping')
    await stopMapping(endpoint, mapping?.instances[0]?.attributes['uuid'])
    const { resources, changes } = await planAgain(copy, [...variables, '-state=before.tfstate'], env)
    expect(resources).toBeGreaterThan(60)
    const isKnown = ({ name, sameJson }: Change) =>
      EMULATORS.moto.drift.some((known) => known.change.test(name) && known.sameJson === sameJson)
    expect(changes.filter((change) => !isKnown(change))).toEqual([])
  })

  it('takes an image from the gateway to a subscriber, in the bundles', async () => {
    const state = JSON.parse(readFileSync(join(copy.folder, 'terraform.tfstate'), 'utf8')) as State
    const applied = new Plan(
      state.resources.flatMap(({ type, name, instances }) =>
        instances.map(({ index_key, attributes }) => ({
          address: `${type}.${name}${index_key === undefined ? '' : `[${JSON.stringify(index_key)}]`}`,
          type,
          after: attributes,
        })),
      ),
    )
    expect(state.outputs['upload_url']?.value).toBe(`${state.outputs['api_url']?.value}/images`)
    await stopMapping(endpoint, applied.get('aws_lambda_event_source_mapping.jobs')['uuid'])
    const s3 = new S3Client({ endpoint, region, credentials, forcePathStyle: true })
    const sqs = new SQSClient({ endpoint, region, credentials, useQueueUrlAsEndpoint: false })
    const rekognition = await startRekognition({
      port: 0,
      rekognition: {},
      readObject: async (Bucket, Key) =>
        (await s3.send(new GetObjectCommand({ Bucket, Key }))).Body?.transformToByteArray(),
    })
    const functions = mkdtempSync(join(tmpdir(), 'image-analyzer-functions-'))
    const running = new Map<FunctionName, ReturnType<typeof startBundle>>()
    const invoke = <T>(name: FunctionName, event: unknown): Promise<T> => {
      const environment = {
        ...{ ...environmentOf(applied, name), ...env },
        AWS_ENDPOINT_URL_REKOGNITION: rekognition.endpoint,
      }
      const one = running.get(name) ?? startBundle(join(functions, name), environment)
      running.set(name, one)
      return one.invoke<T>(event)
    }
    try {
      // sharp is beside the bundle on AWS; here it comes from this repository.
      symlinkSync(join(root, 'node_modules'), join(functions, 'node_modules'), 'dir')
      for (const name of ['api', 'worker', 'sweeper'] as const) {
        for (const [path, bytes] of Object.entries((await bundleOf(name)).files)) {
          mkdirSync(dirname(join(functions, name, path)), { recursive: true })
          writeFileSync(join(functions, name, path), bytes)
        }
      }

      // What S3 has sent when its notifications were set up.
      const setUp = await receive(sqs, state.outputs['job_queue_url']?.value)
      expect(setUp.map((message) => JSON.parse(message.Body ?? ''))).toMatchObject([
        { Event: 's3:TestEvent' },
      ])
      expect(await invoke('worker', { Records: setUp.map(toRecord) })).toEqual({ batchItemFailures: [] })

      const photo = readFileSync(join(root, 'test/fixtures/grace-hopper.jpg'))
      const accepted = await invoke<GatewayAnswer>('api', gatewayEvent('POST', '/images', photo))
      expect(accepted, accepted.body).toMatchObject({ statusCode: 202 })
      const { imageId } = JSON.parse(accepted.body) as { imageId: string }

      const jobs = await receive(sqs, state.outputs['job_queue_url']?.value)
      expect(jobs.map((job) => JSON.parse(job.Body ?? ''))).toEqual([{ version: 1, imageId, epoch: 1 }])
      const settled = await invoke('worker', { Records: jobs.map(toRecord) })
      expect(settled).toEqual({ batchItemFailures: [] })

      const shown = await invoke<GatewayAnswer>('api', gatewayEvent('GET', `/images/${imageId}`))
      expect(JSON.parse(shown.body)).toMatchObject({
        imageId,
        status: 'completed',
        original: { bucket: state.outputs['bucket']?.value, key: `originals/${imageId}` },
        labelModelVersion: 'stand-in',
      })

      const [event] = await receive(sqs, state.outputs['subscriber_queue_url']?.value)
      expect(JSON.parse(event?.Body ?? '')).toMatchObject({
        source: 'image-analyzer',
        'detail-type': 'Image Analysis Completed',
        detail: { imageId, status: 'completed' },
      })

      const announced = Buffer.from(JSON.stringify({ contentType: 'image/jpeg', bytes: photo.length }))
      const formed = await invoke<GatewayAnswer>(
        'api',
        gatewayEvent('POST', '/uploads', announced, 'application/json'),
      )
      expect(formed, formed.body).toMatchObject({ statusCode: 201 })
      const { imageId: uploaded, upload } = JSON.parse(formed.body) as {
        imageId: string
        upload: { url: string; fields: Record<string, string> }
      }
      expect((await sendForm(upload, photo)).status).toBe(204)
      const arrival = await receive(sqs, state.outputs['job_queue_url']?.value)
      expect(arrival.map((message) => JSON.parse(message.Body ?? '').Records[0].eventName)).toEqual([
        'ObjectCreated:Post',
      ])
      expect(await invoke('worker', { Records: arrival.map(toRecord) })).toEqual({ batchItemFailures: [] })
      const known = await invoke<GatewayAnswer>('api', gatewayEvent('GET', `/images/${uploaded}`))
      // The same bytes as before.
      expect(JSON.parse(known.body)).toMatchObject({ status: 'completed', reused: true })
      const [finished] = await receive(sqs, state.outputs['subscriber_queue_url']?.value)
      expect(JSON.parse(finished?.Body ?? '')).toMatchObject({ detail: { imageId: uploaded } })

      const dynamo = new DynamoDBClient({ endpoint, region, credentials })
      const table = { TableName: state.outputs['table']?.value }
      expect((await dynamo.send(new DescribeTimeToLiveCommand(table))).TimeToLiveDescription).toEqual({
        ...{ AttributeName: 'expiresAt', TimeToLiveStatus: 'ENABLED' },
      })

      const nothing = { requeued: 0, exhausted: 0, announced: 0, removed: 0, failed: 0 }
      expect(await invoke('sweeper', {})).toEqual(nothing)
      const left = await invoke<GatewayAnswer>('api', gatewayEvent('POST', '/images', photo))
      const { imageId: lost } = JSON.parse(left.body) as { imageId: string }
      await receive(sqs, state.outputs['job_queue_url']?.value)
      // As if its time had come.
      await dynamo.send(
        new UpdateItemCommand({
          ...table,
          Key: { imageId: { S: lost } },
          UpdateExpression: 'SET sweepAt = :due',
          ExpressionAttributeValues: { ':due': { N: '1' } },
        }),
      )
      expect(await invoke('sweeper', {})).toEqual({ ...nothing, requeued: 1 })
      const [again] = await receive(sqs, state.outputs['job_queue_url']?.value)
      expect(JSON.parse(again?.Body ?? '')).toEqual({ version: 1, imageId: lost, epoch: 1 })
    } finally {
      await Promise.all([...running.values()].map((one) => one.stop()))
      await rekognition.stop()
      rmSync(functions, { recursive: true, force: true })
    }
  })

  it('is removed with everything in it', async () => {
    // The plan above has looked at all of it.
    const { status, stderr } = await copy.terraform(
      ['destroy', '-refresh=false', '-auto-approve', '-input=false', ...variables],
      env,
    )
    expect(status, stderr).toBe(0)
    expect(await kindsThatName(endpoint, 'image-analyzer')).toEqual([])
  })
})

const environmentOf = (plan: Plan, name: FunctionName): Record<string, string> => {
  const [block] = plan.get(`aws_lambda_function.${name}`)['environment'] as {
    variables: Record<string, string>
  }[]
  return block?.variables ?? {}
}

const byName = <T extends { name: string }>(list: readonly T[] = []): T[] =>
  list.toSorted((a, b) => a.name.localeCompare(b.name))
