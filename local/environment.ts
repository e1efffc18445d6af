import * as z from 'zod'
import { isInstalled } from '../packages/vision/index.ts'
import {
  type AuthConfig,
  apiSettings,
  GIVE_UP_DAYS,
  HEIC,
  parseEnvironment,
  readAuthConfig,
  workerSettings,
} from '../shared/config.ts'
import { StartError } from './trouble.ts'

/** The lines of the log, in DATA_DIR. */
export const LOG_FILE = 'log.jsonl'

const port = z.coerce.number().int().min(0).max(65_535)

/** Names, as in ALLOWED_HOSTS, by which the ports are reached, in addition to those of loopback. */
export const allowedHostsSchema = z
  .string()
  .transform((text) =>
    text
      .toLowerCase()
      .split(/[\s,]+/)
      .filter((name) => name !== ''),
  )
  .pipe(
    z.array(
      z
        .string()
        .regex(/^([a-z0-9._-]+|\[[0-9a-f:]+\])$/, 'must be host names without a port, as in a.test,b.test'),
    ),
  )

const environmentSchema = z.object({
  PORT: port.default(3000),
  /** Of the embedded AWS. 4566 is where tools expect an emulator. */
  AWS_PORT: port.optional(),
  /** Where images, records, queue and events are kept. Nothing outlives the process without it. */
  DATA_DIR: z.string().min(1).optional(),
  /** The most bytes of a request that reach the API, as API Gateway has a limit; larger ones get its own bare 413. */
  GATEWAY_MAX_BYTES: z.coerce.number().int().positive().optional(),
  /** Names, in addition to those of loopback, by which both ports are reached. */
  ALLOWED_HOSTS: allowedHostsSchema.default([]),
  AWS_ENDPOINT_URL: z.url().optional(),
  AWS_ENDPOINT_URL_REKOGNITION: z.url().optional(),
  /**
   * `local` asks open models on this machine, `stand-in` measures pixels; `aws` asks the real service, and `record` as
   * well, through the stand-in, which keeps its answers. By default `local` where the models are installed.
   */
  REKOGNITION: z.enum(['local', 'stand-in', 'aws', 'record']).optional(),
  /** Whether a worker takes the jobs here; `off` leaves them to `npm run worker`. */
  WORKER: z.enum(['on', 'off']).default('on'),
  /** The folder of the answers that are kept. Where it is there, they are replayed; the rest is seen or measured here. */
  RECORDINGS: z.string().min(1).optional(),
  /** Where models are that people have added; see packages/vision/models-folder.ts. */
  VISION_MODELS: z.string().optional(),
  /** Where npm was called: it runs scripts in the package's folder. */
  INIT_CWD: z.string().optional(),
  AWS_REGION: z.string().optional(),
  AWS_DEFAULT_REGION: z.string().optional(),
  /** Whether the log is for people or, as on AWS, one line of JSON for each fact (docs/log.md). */
  LOG_FORMAT: z.enum(['text', 'json']).default('text'),
  /** The least that is written of it; `npm start` reads it. */
  LOG_LEVEL: z.enum(['INFO', 'WARN', 'ERROR']).default('INFO'),
  /** The stand-in's limits: calls per second, and milliseconds that each call takes. */
  STAND_IN_TPS: z.coerce.number().positive().optional(),
  STAND_IN_LATENCY_MS: z.coerce.number().min(0).optional(),
  /** Of the API, as on AWS. */
  ...apiSettings,
  /** Of the worker and the sweeper, as on AWS. */
  ...workerSettings,
  GIVE_UP_DAYS,
  /** Of both, as on AWS. */
  HEIC,
  /** How callers of the API prove who they are, as on AWS; see authSchema in shared/config.ts. */
  AUTH: z.enum(['none', 'jwt', 'iam']).default('none'),
  JWT_ISSUER: z.string().optional(),
  JWT_AUDIENCE: z.string().optional(),
  AWS_ACCESS_KEY_ID: z.string().optional(),
  AWS_SECRET_ACCESS_KEY: z.string().optional(),
  AWS_PROFILE: z.string().optional(),
})

type Environment = z.infer<typeof environmentSchema>
export type Settings = Environment & { REKOGNITION: NonNullable<Environment['REKOGNITION']> }

/** @throws StartError that names what is wrong */
export function readSettings(env: NodeJS.ProcessEnv): Settings {
  const { data, problems } = parseEnvironment(environmentSchema, env)
  if (problems !== undefined) throw new StartError(problems)
  return { ...data, REKOGNITION: data.REKOGNITION ?? (isInstalled() ? 'local' : 'stand-in') }
}

/** @throws StartError */
export function readAuth({ AUTH, JWT_ISSUER, JWT_AUDIENCE }: Settings): AuthConfig {
  try {
    return readAuthConfig({ AUTH, JWT_ISSUER, JWT_AUDIENCE })
  } catch (error) {
    throw new StartError((error as Error).message)
  }
}

/** Emulators take any. */
export const STAND_IN_CREDENTIALS = { accessKeyId: 'test', secretAccessKey: 'test' }
/** Whether the caller has credentials of their own. */
export const hasCredentials = ({ AWS_ACCESS_KEY_ID, AWS_PROFILE }: Settings): boolean =>
  AWS_ACCESS_KEY_ID !== undefined || AWS_PROFILE !== undefined
