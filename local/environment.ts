import * as z from 'zod'
import { type Resources, resourceNames } from '../infrastructure/resources.ts'
import { answeringSettings, port, withTwoPorts } from '../rekognition/settings.ts'
import {
  type AuthConfig,
  apiSettings,
  DEFAULT_SWEEP_AFTER_SECONDS,
  GIVE_UP_DAYS,
  HEIC,
  parseEnvironment,
  readAuthConfig,
  withUsefulFaces,
  workerSettings,
} from '../shared/config.ts'
import { orStartError, StartError } from '../shared/machine.ts'

/** The lines of the log, in DATA_DIR. */
export const LOG_FILE = 'log.jsonl'

const environmentSchema = z.object({
  /** How callers of the API prove who they are, as on AWS; see authSchema in shared/config.ts. First, as it matters most. */
  AUTH: z.enum(['none', 'jwt', 'iam']).default('none'),
  PORT: port.default(3000),
  /** Where images, records, queue and events are kept. Nothing outlives the process without it. */
  DATA_DIR: z.string().min(1).optional(),
  /** The most bytes of a request that reach the API, as API Gateway has a limit; larger ones get its own bare 413. */
  GATEWAY_MAX_BYTES: z.coerce.number().int().positive().optional(),
  /** Whether a worker takes the jobs here; `off` leaves them to `npm run worker`. */
  WORKER: z.enum(['on', 'off']).default('on'),
  /** Whether the log is for people or, as on AWS, one line of JSON for each fact (docs/log.md). */
  LOG_FORMAT: z.enum(['text', 'json']).default('text'),
  /** The least that is written of it; `npm start` reads it. */
  LOG_LEVEL: z.enum(['INFO', 'WARN', 'ERROR']).default('INFO'),
  /** Who answers as Rekognition. */
  ...answeringSettings,
  /** Of the API, as on AWS. */
  ...apiSettings,
  /** Of the worker and the sweeper, as on AWS; HEIC also of the API. */
  ...workerSettings,
  GIVE_UP_DAYS,
  HEIC,
  JWT_ISSUER: z.string().optional(),
  JWT_AUDIENCE: z.string().optional(),
  AWS_SECRET_ACCESS_KEY: z.string().optional(),
})

/** The names of all that `npm start` reads. */
export const SETTINGS = Object.keys(environmentSchema.shape)
export type Settings = z.infer<typeof environmentSchema>

/** @throws StartError that names what is wrong */
export function readSettings(env: NodeJS.ProcessEnv): Settings {
  const { data, problems } = parseEnvironment(withTwoPorts(withUsefulFaces(environmentSchema)), env)
  if (problems !== undefined) throw new StartError(problems)
  return data
}

/** @throws StartError */
export const readAuth = ({ AUTH, JWT_ISSUER, JWT_AUDIENCE }: Settings): AuthConfig =>
  orStartError(() => readAuthConfig({ AUTH, JWT_ISSUER, JWT_AUDIENCE }))

/** What Terraform tells the functions on AWS. */
export function configFor(settings: Settings, { jobQueueUrl, deadLetterQueueUrl }: Resources) {
  const { bucket, table, eventBus } = resourceNames()
  return {
    ...settings,
    IMAGE_BUCKET: bucket,
    IMAGE_TABLE: table,
    EVENT_BUS_NAME: eventBus,
    JOB_QUEUE_URL: jobQueueUrl,
    DEAD_LETTER_QUEUE_URL: deadLetterQueueUrl,
    SWEEP_AFTER_SECONDS: DEFAULT_SWEEP_AFTER_SECONDS,
  }
}
