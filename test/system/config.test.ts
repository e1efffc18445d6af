import { createServer, type ServerResponse } from 'node:http'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient, PutCommand } from '@aws-sdk/lib-dynamodb'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { SETTINGS } from '../../local/environment.ts'
import { close, listen } from '../../packages/embedded-aws/gateway/index.ts'
import { clientOptions, dynamoTranslation, s3Options, sqsOptions } from '../../shared/aws.ts'
import {
  readApiConfig,
  readAuthConfig,
  readSweeperConfig,
  readWorkerConfig,
  WORKER_SETTINGS,
} from '../../shared/config.ts'
import { patient, warningsOf } from '../../shared/machine.ts'
import { passOver } from '../../shared/messages.ts'
import { SILENT } from '../tools.ts'
import { until } from '../until.ts'

const resources = { IMAGE_BUCKET: 'abc', IMAGE_TABLE: 'def', JOB_QUEUE_URL: 'https://sqs/jobs' }
const worker = { ...resources, EVENT_BUS_NAME: 'b' }
const readers = {
  api: (env: NodeJS.ProcessEnv): Record<string, unknown> => readApiConfig({ ...resources, ...env }),
  worker: (env: NodeJS.ProcessEnv): Record<string, unknown> => readWorkerConfig({ ...worker, ...env }),
  sweeper: (env: NodeJS.ProcessEnv): Record<string, unknown> => readSweeperConfig({ ...worker, ...env }),
  jwt: (env: NodeJS.ProcessEnv): Record<string, unknown> =>
    readAuthConfig({ AUTH: 'jwt', JWT_ISSUER: 'https://issuer', JWT_AUDIENCE: 'a', ...env }),
}

/** What a reader gives, or says. */
const outcome = (read: () => unknown): unknown => {
  try {
    return read()
  } catch (error) {
    return String(error)
  }
}

describe('the environment of a function', () => {
  it('has a default for everything that is not a resource', () => {
    expect(outcome(() => readApiConfig(resources))).toEqual({
      ...{ ...resources, SWEEP_AFTER_SECONDS: 1_020, MAX_IMAGE_BYTES: 4_500_000 },
      ...{ MAX_UPLOAD_BYTES: 50_000_000, MAX_WAIT_SECONDS: 20 },
      ANALYSES: ['labels', 'faces', 'moderation', 'text', 'faces-when-person', 'metadata', 'gps'],
      FACES: 'always',
      ...{ STRIP_GPS: false, HEIC: false, BUDGET_ACTION: 'park' },
    })
    const both = { ...worker, SWEEP_AFTER_SECONDS: 1_020, MAX_ATTEMPTS: 10 }
    const dead = { DEAD_LETTER_QUEUE_URL: 'https://sqs/jobs-dead' }
    expect(outcome(() => readWorkerConfig(worker))).toEqual({
      ...{ ...both, ...dead, MIN_CONFIDENCE: 55, MAX_LABELS: 100, PREVIEW: true },
      PACK_RESULTS: false,
      ...{ STRIP_GPS: false, HEIC: false, BUDGET_ACTION: 'park' },
    })
    expect(outcome(() => readSweeperConfig(worker))).toEqual({ ...both, ...dead, GIVE_UP_DAYS: 14 })
  })

  it.each<[keyof typeof readers, name: string, taken: Record<string, unknown>, refused: string[]]>([
    ['api', 'IMAGE_BUCKET', { abc: 'abc' }, ['ab']],
    ['api', 'IMAGE_TABLE', { abc: 'abc' }, ['ab']],
    ['api', 'JOB_QUEUE_URL', { 'http://q': 'http://q' }, ['jobs']],
    ['api', 'SWEEP_AFTER_SECONDS', { 1: 1 }, ['0', '1.5']],
    ['api', 'MAX_IMAGE_BYTES', { 1: 1 }, ['0', '1.5']],
    ['api', 'MAX_UPLOAD_BYTES', { 1: 1, 5368709120: 5_368_709_120 }, ['0', '1.5', '5368709121']],
    ['api', 'MAX_WAIT_SECONDS', { 0: 0, 20: 20 }, ['-1', '21', '1.5']],
    ['api', 'RETENTION_DAYS', { 1: 1, '': undefined }, ['0', '1.5']],
    ['api', 'DAILY_IMAGE_QUOTA', { 1: 1, '': undefined }, ['0', '1.5']],
    ['api', 'ANALYSES', { text: ['text'], ' labels , faces': ['labels', 'faces'] }, [',', 'smells']],
    [
      'api',
      'CORS_ORIGINS',
      { 'http://a': ['http://a'], 'https://a,https://b:8443': ['https://a', 'https://b:8443'] },
      [
        '*',
        'https://*',
        'https://a/',
        'a https://a',
        'https://a b',
        'https://',
        'https://A',
        'https://a:443',
        'ftp://a',
      ],
    ],
    ['api', 'HEIC', { on: true, off: false }, ['true', '1']],
    ['worker', 'HEIC', { on: true, off: false }, ['true', '1']],
    ['worker', 'EVENT_BUS_NAME', { b: 'b' }, ['']],
    ['worker', 'DEAD_LETTER_QUEUE_URL', { 'http://dead': 'http://dead' }, ['dead']],
    ['worker', 'MIN_CONFIDENCE', { 0: 0, 0.5: 0.5, 100: 100 }, ['-1', '100.5']],
    ['worker', 'MONTHLY_BUDGET_USD', { 0.5: 0.5, '': undefined }, ['0', '-1', 'much', '10000001']],
    [
      'worker',
      'BUDGET_ACTION',
      { alarm: 'alarm', park: 'park', refuse: 'refuse', '': 'park' },
      ['stop', 'PARK'],
    ],
    ['api', 'MONTHLY_BUDGET_USD', { 0.5: 0.5, '': undefined }, ['0', 'much']],
    ['api', 'BUDGET_ACTION', { refuse: 'refuse', '': 'park' }, ['none']],
    ['worker', 'MAX_ATTEMPTS', { 1: 1 }, ['0', '1.5']],
    ['worker', 'MAX_LABELS', { 1: 1, 1000: 1_000 }, ['0', '1001', '1.5']],
    ['api', 'STRIP_GPS', { on: true, off: false, '': false }, ['yes', 'true']],
    ['worker', 'STRIP_GPS', { on: true, off: false, '': false }, ['yes', 'true']],
    ['worker', 'PREVIEW', { on: true, off: false, '': true }, ['yes', 'true']],
    ['worker', 'PACK_RESULTS', { on: true, off: false, '': false }, ['yes', 'true']],
    ['worker', 'REKOGNITION_TPS', { 0.5: 0.5, '': undefined }, ['0']],
    ['sweeper', 'DEAD_LETTER_QUEUE_URL', { 'http://dead': 'http://dead' }, ['dead']],
    ['sweeper', 'GIVE_UP_DAYS', { 0.5: 0.5 }, ['0']],
    [
      'jwt',
      'JWT_ISSUER',
      {
        'https://a': 'https://a',
        'http://127.0.0.1:1': 'http://127.0.0.1:1',
        'http://[::1]': 'http://[::1]',
        'http://localhost': 'http://localhost',
      },
      ['http://a', 'ftp://localhost', 'a'],
    ],
    ['jwt', 'JWT_AUDIENCE', { a: 'a' }, ['']],
  ])('of the %s is read strictly: %s', (reader, name, taken, refused) => {
    const read = readers[reader]
    for (const [value, expected] of Object.entries(taken))
      expect(outcome(() => read({ [name]: value })[name])).toEqual(expected)
    for (const value of refused) expect(() => read({ [name]: value }), value).toThrow(`${name}`)
  })

  it('is refused with the name of everything that is missing or wrong', () => {
    expect(() => readApiConfig({ ...resources, IMAGE_BUCKET: '', MAX_IMAGE_BYTES: 'many' })).toThrow(
      'Environment variables are missing or wrong. IMAGE_BUCKET: it is not set; MAX_IMAGE_BYTES: it has to be a number. See shared/config.ts.',
    )
    expect(() => readApiConfig({ ...resources, FACES: 'some' })).toThrow(
      'FACES: it has to be always or when-person',
    )
    expect(() => readApiConfig({ ...resources, ANALYSES: 'smells,text,noise' })).toThrow(
      /wrong\. ANALYSES: it has to be labels or faces or [^;]+$/,
    )
    const people = { ...resources, FACES: 'when-person' }
    expect(() => readApiConfig({ ...people, ANALYSES: 'labels,faces' })).toThrow(
      'FACES: when-person needs faces-when-person among the ANALYSES: without it, faces would be asked for always.',
    )
    expect(() => readApiConfig({ ...resources, ANALYSES: 'faces-when-person' })).toThrow(
      'ANALYSES: faces-when-person needs labels, which show whether there is a person: list both.',
    )
    expect(outcome(() => readApiConfig({ ...people, ANALYSES: 'labels,faces-when-person' }).FACES)).toBe(
      'when-person',
    )
    const jwt = { AUTH: 'jwt', JWT_AUDIENCE: 'a' }
    for (const JWT_ISSUER of ['http://issuer', 'issuer', 'localhost:8080'])
      expect(() => readAuthConfig({ ...jwt, JWT_ISSUER })).toThrow(
        /JWT_ISSUER: it has to be an https URL, or one of this machine/,
      )
    const unset = 'it is not set, and AUTH=jwt needs it'
    expect(() => readAuthConfig({ AUTH: 'jwt' })).toThrow(`JWT_ISSUER: ${unset}; JWT_AUDIENCE: ${unset}.`)
    expect(() => readAuthConfig({ AUTH: 'password' })).toThrow(/AUTH: /)
    for (const AUTH of ['iam', 'none']) expect(outcome(() => readAuthConfig({ AUTH }))).toEqual({ AUTH })
  })
})

it.each([
  ['MAX_WAIT_SECONDS', '-1', 'it has to be at least 0'],
  ['MAX_WAIT_SECONDS', '21', 'it has to be 20 at most'],
  ['MAX_WAIT_SECONDS', '1.5', 'it has to be a whole number'],
  ['MAX_WAIT_SECONDS', '1e999', 'it has to be a number'],
  ['MAX_IMAGE_BYTES', '0', 'it has to be more than 0'],
  ['MAX_IMAGE_BYTES', '1e999', 'it has to be a number'],
  ['IMAGE_BUCKET', 'ab', 'it has to have at least 3 characters'],
  ['JOB_QUEUE_URL', 'jobs', 'it has to be a URL, as in http://127.0.0.1:4566'],
  ['JOB_QUEUE_URL', 'localhost:4566/0/jobs', 'it has to be a URL, as in http://127.0.0.1:4566'],
  [
    'CORS_ORIGINS',
    '*',
    'it has to be origins as browsers send them, as in https://a.example,https://b.example:8443',
  ],
])('what is wrong with %s=%s is said in words: %s', (name, value, words) => {
  expect(() => readApiConfig({ ...resources, [name]: value })).toThrow(
    `Environment variables are missing or wrong. ${name}: ${words}. See shared/config.ts.`,
  )
})

describe('a variable that is nearly a setting', () => {
  const saidOf = (settings: string[], ...names: string[]) =>
    warningsOf(settings, Object.fromEntries(names.map((name) => [name, '3'])))

  it.each([
    [SETTINGS, 'MAX_ATTEMPT', 'MAX_ATTEMPTS'],
    [SETTINGS, 'MIN_CONFIDENCES', 'MIN_CONFIDENCE'],
    [SETTINGS, 'MAX_IMAGES_BYTES', 'MAX_IMAGE_BYTES'],
    [SETTINGS, 'CORS_ORIGIN', 'CORS_ORIGINS'],
    [SETTINGS, 'ANALYSIS', 'ANALYSES'],
    [SETTINGS, 'RECOGNITION', 'REKOGNITION'],
    [SETTINGS, 'DATA_DRI', 'DATA_DIR'],
    [WORKER_SETTINGS, 'BATCH_SIZES', 'BATCH_SIZE'],
    [WORKER_SETTINGS, 'IMAG_BUCKET', 'IMAGE_BUCKET'],
  ])('is named with it: %#', (settings, name, meant) => {
    expect(saidOf(settings, name)).toEqual([
      `${name} is not a setting and is ignored. Did you mean ${meant}?`,
    ])
  })

  it('is no setting of ours, of AWS, or of another program', () => {
    const ours = new Set([...SETTINGS, ...WORKER_SETTINGS])
    const foreign = [
      'AWS_REGIONS',
      'OAUTH',
      'SPORT',
      'WORKERS',
      'LOGLEVEL',
      'LOG_LEVELING',
      'DATADIR',
      'DATA_DIR2',
    ]
    for (const settings of [SETTINGS, WORKER_SETTINGS])
      expect(saidOf(settings, ...ours, ...foreign, 'PATH', '')).toEqual([])
    expect(warningsOf(SETTINGS, { MAX_ATTEMPT: '' })).toEqual([])
  })

  it('is said to have no effect where it needs another one', () => {
    const refuse = { BUDGET_ACTION: 'refuse' }
    for (const settings of [SETTINGS, WORKER_SETTINGS])
      expect(warningsOf(settings, refuse)).toEqual([expect.stringContaining('MONTHLY_BUDGET_USD')])
    expect(warningsOf(SETTINGS, { ...refuse, MONTHLY_BUDGET_USD: '5' })).toEqual([])
    expect(warningsOf(['STAND_IN_TPS'], refuse)).toEqual([])
  })

  it('is said to be ignored where it is an endpoint of one service, and npm start has one for all', () => {
    const names = ['S3', 'SQS', 'DYNAMODB', 'EVENTBRIDGE'].map((service) => `AWS_ENDPOINT_URL_${service}`)
    expect(saidOf(SETTINGS, ...names)).toEqual(
      names.map((name) => `${name} is ignored: AWS_ENDPOINT_URL names one endpoint of all services.`),
    )
    expect(saidOf(SETTINGS, 'AWS_ENDPOINT_URL_REKOGNITION', 'AWS_ENDPOINT_URL_SNS')).toEqual([])
    expect(saidOf(WORKER_SETTINGS, ...names)).toEqual([])
  })
})

describe('a client of AWS', () => {
  const endpoint = 'http://127.0.0.1:4566'

  it('gives up after three tries of five seconds, and of thirty with an emulator', () => {
    onTestFinished(() => void vi.unstubAllEnvs())
    for (const name of ['AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL']) vi.stubEnv(name, undefined)
    const agent = { keepAlive: true, maxSockets: 50 }
    const requestHandler = {
      ...{ throwOnRequestTimeout: true, socketTimeout: 30_000 },
      ...{ httpAgent: agent, httpsAgent: agent },
    }
    const always = { maxAttempts: 3, logger: expect.any(Object) }
    expect(clientOptions()).toEqual({
      ...{ ...always, requestHandler: { ...requestHandler, requestTimeout: 5_000 } },
    })
    expect(sqsOptions({ endpoint })).toEqual({
      ...{ endpoint, ...always, requestHandler: { ...requestHandler, requestTimeout: 30_000 } },
      // Of AWS alone.
      ...{ useFipsEndpoint: false, useDualstackEndpoint: false },
      // The queue's URL may name a host that is not reachable.
      useQueueUrlAsEndpoint: false,
    })
  })

  it('waits no longer for the rest of an answer than for its beginning', async () => {
    const server = createServer((_, response) => {
      response.writeHead(200, { 'content-length': 9 }).write('{')
    })
    const url = `http://127.0.0.1:${await listen(server, 0)}`
    const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
    const options = patient(sqsOptions({ endpoint: url, region: 'us-east-1', credentials }), 50)
    const sqs = new SQSClient({ ...options, maxAttempts: 1 })
    let error: unknown
    sqs.send(new ReceiveMessageCommand({ QueueUrl: url })).catch((reason) => {
      error = reason
    })
    await until('the end of the call', async () => error)
    expect(error).toMatchObject({ name: 'TimeoutError' })
    // Several calls may have been made at a time.
    expect((error as Error).message).toContain(' (SQS ReceiveMessage 127.0.0.1:')
    sqs.destroy()
    await close(server)
  })

  it.each<[string, (response: ServerResponse) => void, string]>([
    [
      'breaks off, and not as one in the words of another',
      (response) => response.writeHead(200, { 'content-length': 9 }).write('{', () => response.destroy()),
      'aborted',
    ],
    ['has no words, and its status', (response) => response.writeHead(503).end(), 'HTTP 503'],
  ])('names a call whose answer %s', async (_name, answer, said) => {
    const server = createServer((_, response) => answer(response))
    const url = `http://127.0.0.1:${await listen(server, 0)}`
    onTestFinished(() => close(server))
    const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
    const sqs = new SQSClient({
      ...sqsOptions({ endpoint: url, region: 'us-east-1', credentials }),
      maxAttempts: 1,
    })
    onTestFinished(() => sqs.destroy())
    const received = sqs.send(new ReceiveMessageCommand({ QueueUrl: `${url}/0/jobs` }))
    await expect(received).rejects.toThrow(`${said} (SQS ReceiveMessage jobs)`)
  })

  it('leaves out of an item what is undefined, also within its parts', async () => {
    const sent: unknown[] = []
    const handle = async ({ body }: { body: Uint8Array }) => {
      sent.push(JSON.parse(new TextDecoder().decode(body)))
      throw new Error('enough is known')
    }
    const credentials = { accessKeyId: 'a', secretAccessKey: 'b' }
    const dynamoDb = new DynamoDBClient({
      ...{ region: 'us-east-1', credentials, maxAttempts: 1, requestHandler: { handle } as never },
    })
    const dynamo = DynamoDBDocumentClient.from(dynamoDb, dynamoTranslation)
    const Item = { imageId: 'a', expiresAt: undefined, original: { key: 'k', filename: undefined } }
    await Promise.allSettled([dynamo.send(new PutCommand({ TableName: 't', Item }))])
    expect(sent).toEqual([
      { TableName: 't', Item: { imageId: { S: 'a' }, original: { M: { key: { S: 'k' } } } } },
    ])
  })

  it.each([
    ['is given to it', { endpoint }, {}],
    ['AWS_ENDPOINT_URL_S3 names', {}, { AWS_ENDPOINT_URL_S3: endpoint }],
    ['AWS_ENDPOINT_URL names', {}, { AWS_ENDPOINT_URL: endpoint }],
  ])('names the bucket in the path of the endpoint that %s, and on AWS in the host', (_, target, env) => {
    onTestFinished(() => void vi.unstubAllEnvs())
    for (const name of ['AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL']) vi.stubEnv(name, undefined)
    expect(s3Options()).toMatchObject({ forcePathStyle: false })
    for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value)
    expect(s3Options(target)).toMatchObject({ forcePathStyle: true, maxAttempts: 3 })
  })
})

it.each<[unknown, kept: string[], has: string[]]>([
  [undefined, [], []],
  ['ping', [], ['0', '1', '2', '3']],
  [{ warm: true }, [], ['warm']],
  [{ Records: 'none' }, [], ['Records']],
  [
    { Records: [null, 1, { messageId: 7 }, { messageId: 'one' }, { messageId: 'two' }] },
    ['one', 'two'],
    ['Records'],
  ],
])(
  'an event of another kind, %j, is a line in the log, and its messages stay in their queue',
  (event, kept, has) => {
    const lines: unknown[] = []
    const log = { ...SILENT, warn: (_message: string, extra: Record<string, unknown>) => lines.push(extra) }
    const pass = () => passOver(event, 'a schedule', log)
    expect(pass).not.toThrow()
    expect(pass()).toEqual({ batchItemFailures: kept.map((itemIdentifier) => ({ itemIdentifier })) })
    expect(lines[0]).toEqual({ event: 'passed over', wanted: 'a schedule', has })
  },
)
