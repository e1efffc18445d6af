import * as z from 'zod'
import { ANALYSES, analysisNameSchema } from './image.ts'

/**
 * Lambda's synchronous request is 6,291,556 bytes with the body in base64 (4 bytes for 3), which leaves
 * 4.7 MB for the body; 4.5 MB keep room for the event around it (AWS Lambda quotas).
 */
export const DEFAULT_MAX_IMAGE_BYTES = 4_500_000
/** What a worker of 1,769 MB decodes with room to spare, and more than cameras make of one picture. */
export const DEFAULT_MAX_UPLOAD_BYTES = 50_000_000
/** API Gateway ends a request after 29 seconds (REST API quota), so waiting stops well before. */
export const MAX_WAIT_SECONDS = 20

/** What the comment on SWEEP_AFTER_SECONDS adds up: 360 + 600 + 60. */
export const DEFAULT_SWEEP_AFTER_SECONDS = 1_020

/** An address of an endpoint; to a parser of URLs `localhost:4566` is one too, with the scheme `localhost`. */
export const httpUrl = z.url({ protocol: /^https?$/ })

/** A list of names, separated by commas. */
const list = <T extends z.ZodType<string, string>>(item: T) =>
  z
    .string()
    .transform((text) => text.split(',').map((name) => name.trim()))
    .pipe(z.array(item).min(1))

const resources = {
  /** The bucket of originals, thumbnails and previews. */
  IMAGE_BUCKET: z.string().min(3),
  /** The DynamoDB table of records. */
  IMAGE_TABLE: z.string().min(3),
  /** The URL of the SQS queue of jobs. */
  JOB_QUEUE_URL: httpUrl,
  /**
   * Seconds for which an unfinished image may rest before the sweeper looks after it. Its job comes back sooner: from a
   * worker that died, after 360 s of visibility; from one that failed, after the longest pause of 600 s
   * (worker/outcomes.ts) and a worker's 60 s. A job that waits for longer puts the sweeper off.
   */
  SWEEP_AFTER_SECONDS: z.coerce.number().int().positive().default(DEFAULT_SWEEP_AFTER_SECONDS),
  /** Under which CloudWatch has the metrics of shared/log.ts; without it there are none. */
  METRICS_NAMESPACE: z.string().max(255).optional(),
}

/** Attempts after which an image that met nothing but transient trouble ends as EXHAUSTED. */
const MAX_ATTEMPTS = z.coerce.number().int().min(1).default(10)
/** The name or ARN of the EventBridge bus. */
const EVENT_BUS_NAME = z.string().min(1)

const orNeeded = (demand?: string) => (issue: { input?: unknown }) =>
  issue.input === undefined ? 'it is not set, and AUTH=jwt needs it' : demand
const ISSUER_DEMAND = 'it has to be an https URL, or one of this machine'
/** Where keys come from: over HTTPS, so that no one on the way can plant some, or from this machine. */
export const issuerUrl = z.url({ abort: true, error: orNeeded(ISSUER_DEMAND) }).refine((url) => {
  const { protocol, hostname } = new URL(url)
  const isHere = ['localhost', '127.0.0.1', '[::1]'].includes(hostname)
  return protocol === 'https:' || (protocol === 'http:' && isHere)
}, ISSUER_DEMAND)

/** A named issuer means that tokens are to be checked: with another AUTH the API would be open, or ask for something else. */
const refusingTokens = (AUTH: string) => {
  const unused = z.undefined(`it has no effect with AUTH=${AUTH}: set AUTH=jwt, or leave it out`).optional()
  return { JWT_ISSUER: unused, JWT_AUDIENCE: unused }
}

/** How callers prove who they are. */
const authSchema = z.discriminatedUnion('AUTH', [
  /** By AWS Signature Version 4, verified by API Gateway before the function is called. */
  z.object({ AUTH: z.literal('iam'), ...refusingTokens('iam') }),
  /** By a token of an OpenID Connect issuer: its `iss`, and the `aud` that tokens for this API carry. */
  z.object({
    AUTH: z.literal('jwt'),
    JWT_ISSUER: issuerUrl,
    JWT_AUDIENCE: z.string({ error: orNeeded() }).min(1),
  }),
  /** No check: all callers are the same owner. */
  z.object({ AUTH: z.literal('none'), ...refusingTokens('none') }),
])
export type AuthConfig = z.infer<typeof authSchema>

/** A switch, and how it is where nothing is said. */
function onOrOff(usual: 'on' | 'off') {
  return z
    .enum(['on', 'off'])
    .default(usual)
    .transform((setting) => setting === 'on')
}

/** Whether the position of a photo is overwritten (`on`) in what is stored of it; then `gps` finds none. */
const STRIP_GPS = onOrOff('off')

/** https://aws.amazon.com/rekognition/pricing, us-east-1: a call, in US dollars, of the first million of a month, and of the rest. */
export const CALL_USD = { first: 0.001, rest: 0.0008 }
/** Of Rekognition, at the first of these prices. */
export const CALLS_PER_USD = 1 / CALL_USD.first

const budgetSettings = {
  /** US dollars a month (of UTC) that Rekognition may cost, at CALLS_PER_USD; without it there is no such limit. */
  MONTHLY_BUDGET_USD: z.coerce.number().min(0.001).max(10_000_000).optional(),
  /**
   * What comes of a budget that is spent. `park`: no more calls, and images wait for the next month. `refuse`: the same, and
   * the API takes no more images. `alarm`: calls go on, and the log says so.
   */
  BUDGET_ACTION: z.enum(['alarm', 'park', 'refuse']).default('park'),
}
export type MonthlyBudget = { calls: number; action: z.infer<typeof budgetSettings.BUDGET_ACTION> }
/** In calls a month, where there is a budget. */
export const budgetOf = (config: z.infer<z.ZodObject<typeof budgetSettings>>): MonthlyBudget | undefined =>
  config.MONTHLY_BUDGET_USD === undefined
    ? undefined
    : { calls: Math.floor(config.MONTHLY_BUDGET_USD * CALLS_PER_USD), action: config.BUDGET_ACTION }

const ORIGINS_DEMAND =
  'it has to be origins as browsers send them, as in https://a.example,https://b.example:8443'
const isOrigin = (text: string): boolean =>
  /^https?:[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text

/** What an operator may settle about the API, on AWS and locally. */
export const apiSettings = {
  /** The largest image that `POST /images` takes, in bytes. */
  MAX_IMAGE_BYTES: z.coerce.number().int().positive().default(DEFAULT_MAX_IMAGE_BYTES),
  /** The largest image that `POST /uploads` gives a form for, in bytes; S3 takes up to 5 GB. */
  MAX_UPLOAD_BYTES: z.coerce.number().int().positive().max(5_368_709_120).default(DEFAULT_MAX_UPLOAD_BYTES),
  /**
   * The longest that `GET /images/{imageId}?wait=N` waits, in seconds. On AWS each one that waits takes one of the
   * account's concurrent executions, which workers need too.
   */
  MAX_WAIT_SECONDS: z.coerce.number().int().min(0).max(MAX_WAIT_SECONDS).default(MAX_WAIT_SECONDS),
  /**
   * The analyses that a request may ask for; what is not in here is never computed, billed or stored. A request that
   * names none gets `labels`, `faces` and `metadata`, as far as they are in here, or all of it where neither of the first two is;
   * `gps` only one that names it.
   */
  ANALYSES: list(analysisNameSchema).default([...ANALYSES]),
  /**
   * Whether a request that names no analyses has faces asked for always, or only where its labels show a person: one that
   * Rekognition is less sure of than MIN_CONFIDENCE is none. A call of Rekognition is $1 per 1,000.
   */
  FACES: z.enum(['always', 'when-person']).default('always'),
  STRIP_GPS,
  /** Days after which an image is deleted; nothing: never. */
  RETENTION_DAYS: z.coerce.number().int().positive().optional(),
  /** Images that an owner may submit in a day (of UTC); nothing: as many as they like. */
  DAILY_IMAGE_QUOTA: z.coerce.number().int().positive().optional(),
  /** The origins of web pages that may use the API from a browser, in addition to its own page; `*` is not one. */
  CORS_ORIGINS: list(z.string().refine(isOrigin, ORIGINS_DEMAND)).optional(),
  ...budgetSettings,
}

/**
 * Whether each image gets a preview, a JPEG of at most 1,600 pixels a side. For a JPEG of 12 megapixels it takes `render`
 * 3.1 times the processor time (`npm run bench -- preview`): of 28 ms it makes 88. And it is one more request to S3, and
 * 0.25 MB. What Rekognition is sent is the same without it.
 */
const PREVIEW = onOrOff('on')

/**
 * Whether HEIC comes in, the photos of telephones. API and worker have to agree on it. The worker needs the optional package
 * libheif-js (`npm run build -- --heic`), which takes 1 second of the processor for 12 megapixels.
 */
export const HEIC = onOrOff('off')

/** A worker's timeout, times this, is what AWS advises for the visibility timeout of its queue. */
export const VISIBILITY_FACTOR = 6

/** What an operator may settle about the worker, on AWS and locally. */
export const workerSettings = {
  /** The least confidence of a label, in per cent. 55 is Rekognition's own default. */
  MIN_CONFIDENCE: z.coerce.number().min(0).max(100).default(55),
  /** The most labels per image; 1,000 is Rekognition's own. Results that no item holds go into an object. */
  MAX_LABELS: z.coerce.number().int().min(1).max(1_000).default(100),
  MAX_ATTEMPTS,
  PREVIEW,
  /** Whether Rekognition's answers are deflated in the record: fewer write units, and no way back to code from before. */
  PACK_RESULTS: onOrOff('off'),
  ...budgetSettings,
}

/**
 * Days after which an unfinished image ends as EXHAUSTED, for any cause. 14 are the longest that SQS keeps a job
 * (Amazon SQS quotas).
 */
export const GIVE_UP_DAYS = z.coerce.number().positive().default(14)

/** Of settings that have those of the API: faces for people are of use only where labels show people, and are offered. */
export const withUsefulFaces = <T extends z.ZodType<{ ANALYSES: string[]; FACES: string }>>(settings: T) =>
  settings
    .refine(({ ANALYSES }) => !ANALYSES.includes('faces-when-person') || ANALYSES.includes('labels'), {
      path: ['ANALYSES'],
      error: 'faces-when-person needs labels, which show whether there is a person: list both',
    })
    .refine(({ ANALYSES, FACES }) => FACES === 'always' || ANALYSES.includes('faces-when-person'), {
      path: ['FACES'],
      error:
        'when-person needs faces-when-person among the ANALYSES: without it, faces would be asked for always',
    })

const apiSchema = withUsefulFaces(z.object({ ...resources, ...apiSettings, HEIC }))

/** The URL of the queue for what no worker can finish. Without it: that of the jobs with `-dead` at its end. */
const DEAD_LETTER_QUEUE_URL = httpUrl.optional()
const withDeadLetterQueue = <T extends { JOB_QUEUE_URL: string; DEAD_LETTER_QUEUE_URL?: string | undefined }>(
  config: T,
) => ({ ...config, DEAD_LETTER_QUEUE_URL: config.DEAD_LETTER_QUEUE_URL ?? `${config.JOB_QUEUE_URL}-dead` })

const workerSchema = z.object({
  ...resources,
  DEAD_LETTER_QUEUE_URL,
  EVENT_BUS_NAME,
  ...workerSettings,
  STRIP_GPS,
  HEIC,
  /**
   * Calls a second of each of Rekognition's operations that one worker process may make: its share of the account's
   * quota. Without it the process learns from being throttled.
   */
  REKOGNITION_TPS: z.coerce.number().positive().optional(),
})

/** What is Lambda's business there, where the worker is a process of its own (worker/main.ts). */
const workerProcessSchema = workerSchema.extend({
  /** Batches at once. */
  WORKER_CONCURRENCY: z.coerce.number().int().min(1).max(100).default(2),
  /** Jobs of a batch. */
  BATCH_SIZE: z.coerce.number().int().min(1).max(10).default(10),
  /** Of a batch. The queue's visibility timeout is to be six times as long, so that no job comes twice. */
  WORKER_TIMEOUT_SECONDS: z.coerce.number().int().min(10).max(900).default(60),
  /** From SIGTERM to the end: ECS and Kubernetes kill after 30. */
  DRAIN_SECONDS: z.coerce.number().int().min(10).max(3_600).default(25),
  /** Of `/live`, `/ready` and `/metrics`, at every address; without it there are none. */
  HEALTH_PORT: z.coerce.number().int().min(0).max(65_535).optional(),
})

/** The names of all that `npm run worker` reads. */
export const WORKER_SETTINGS = Object.keys(workerProcessSchema.shape)

const sweeperSchema = z.object({
  ...resources,
  DEAD_LETTER_QUEUE_URL,
  EVENT_BUS_NAME,
  MAX_ATTEMPTS,
  GIVE_UP_DAYS,
})

export type ApiConfig = z.infer<typeof apiSchema>
export type WorkerConfig = ReturnType<typeof readWorkerConfig>
export type SweeperConfig = ReturnType<typeof readSweeperConfig>

/** @returns what the schema makes of the environment, or what is wrong with it */
export function parseEnvironment<T extends z.ZodType>(
  schema: T,
  env: NodeJS.ProcessEnv,
): { data: z.infer<T>; problems?: undefined } | { data?: undefined; problems: string } {
  // An empty variable is one that is not set.
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))
  const { data, error } = schema.safeParse(given, { error: demandOf })
  if (error === undefined) return { data }
  // Of a list, each name that is wrong would say the same.
  const problems = new Set(error.issues.map(({ path: [name], message }) => `${String(name)}: ${message}`))
  return { problems: [...problems].join('; ') }
}

/** What a schema demands that does not say it itself. */
function demandOf(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.input === undefined) return 'it is not set'
  switch (issue.code) {
    case 'invalid_value':
      return `it has to be ${issue.values.join(' or ')}`
    case 'invalid_type':
      return `it has to be a ${issue.expected === 'int' ? 'whole ' : ''}number`
    case 'too_small': {
      const least = `${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}`
      return issue.origin === 'string' ? `it has to have ${least} characters` : `it has to be ${least}`
    }
    case 'too_big':
      return `it has to be ${issue.maximum} at most`
    case 'invalid_format':
      return issue.format === 'url' ? 'it has to be a URL, as in http://127.0.0.1:4566' : undefined
    default:
      return undefined
  }
}

function read<T extends z.ZodType>(schema: T, env: NodeJS.ProcessEnv): z.infer<T> {
  const { data, problems } = parseEnvironment(schema, env)
  if (problems === undefined) return data
  throw new Error(`Environment variables are missing or wrong. ${problems}. See shared/config.ts.`)
}

/** @throws Error that names every variable that is missing or wrong */
export const readAuthConfig = (env: NodeJS.ProcessEnv): AuthConfig => read(authSchema, env)
/** @throws Error that names every variable that is missing or wrong */
export const readApiConfig = (env: NodeJS.ProcessEnv): ApiConfig => read(apiSchema, env)
/** @throws Error that names every variable that is missing or wrong */
export const readWorkerConfig = (env: NodeJS.ProcessEnv) => withDeadLetterQueue(read(workerSchema, env))
/** @throws Error that names every variable that is missing or wrong */
export const readWorkerProcessConfig = (env: NodeJS.ProcessEnv) =>
  withDeadLetterQueue(read(workerProcessSchema, env))
/** @throws Error that names every variable that is missing or wrong */
export const readSweeperConfig = (env: NodeJS.ProcessEnv) => withDeadLetterQueue(read(sweeperSchema, env))
