import { existsSync } from 'node:fs'
import * as z from 'zod'
import { httpUrl } from '../shared/config.ts'

export const port = z.coerce.number().int().min(0).max(65_535)

/** Names, as in ALLOWED_HOSTS, by which the ports are reached, in addition to those of loopback. */
const allowedHosts = z
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
        .regex(
          /^([a-z0-9._-]+|\[[0-9a-f:]+\])$/,
          'it has to be host names without a port, as in a.test,b.test',
        ),
    ),
  )

/** What `npm run rekognition` reads, and `npm start` as well. */
export const serviceSettings = {
  ALLOWED_HOSTS: allowedHosts.default([]),
  /** The stand-in's limits: calls per second, and milliseconds that each call takes. */
  STAND_IN_TPS: z.coerce.number().positive().optional(),
  STAND_IN_LATENCY_MS: z.coerce.number().min(0).optional(),
  /** Where models are that people have added; see packages/vision/models-folder.ts. */
  VISION_MODELS: z.string().optional(),
  AWS_ENDPOINT_URL: httpUrl.optional(),
  AWS_REGION: z.string().optional(),
  AWS_DEFAULT_REGION: z.string().optional(),
  AWS_ACCESS_KEY_ID: z.string().optional(),
  AWS_PROFILE: z.string().optional(),
  AWS_SHARED_CREDENTIALS_FILE: z.string().optional(),
}

/** What `npm start` reads, to know who answers as Rekognition. */
export const answeringSettings = {
  ...serviceSettings,
  /** Of the embedded AWS, or of the embedded Rekognition alone. 4566 is where tools expect an emulator. */
  AWS_PORT: port.optional(),
  /**
   * `local` asks open models on this machine, `stand-in` measures pixels; `aws` asks the real service, and `record` as
   * well, through the stand-in, which keeps its answers. By default `local` where the models are installed.
   */
  REKOGNITION: z.enum(['local', 'stand-in', 'aws', 'record']).optional(),
  AWS_ENDPOINT_URL_REKOGNITION: httpUrl.optional(),
  /** The folder of the answers that are kept. Where it is there, they are replayed; the rest is seen or measured here. */
  RECORDINGS: z.string().min(1).optional(),
  /** Where npm was called: it runs scripts in the package's folder. */
  INIT_CWD: z.string().optional(),
}

/** What listens beside them needs a port of its own. */
export const withTwoPorts = <
  T extends z.ZodType<{ PORT: number; AWS_PORT?: number | undefined; AWS_ENDPOINT_URL?: string | undefined }>,
>(
  settings: T,
) =>
  settings.refine(
    ({ PORT, AWS_PORT, AWS_ENDPOINT_URL }) =>
      PORT === 0 || PORT !== (AWS_PORT ?? (AWS_ENDPOINT_URL === undefined ? 4566 : undefined)),
    { path: ['AWS_PORT'], error: 'it has to be another port than PORT; without it, it is 4566' },
  )

export type AnsweringSettings = z.infer<z.ZodObject<typeof answeringSettings>>

type ServiceSettings = z.infer<z.ZodObject<typeof serviceSettings>>

export const limitsOf = ({ STAND_IN_TPS, STAND_IN_LATENCY_MS }: ServiceSettings) => ({
  tps: STAND_IN_TPS,
  latencyMs: STAND_IN_LATENCY_MS,
})

export const regionOf = ({ AWS_REGION, AWS_DEFAULT_REGION }: ServiceSettings): string =>
  AWS_REGION ?? AWS_DEFAULT_REGION ?? 'us-east-1'

/** Most emulators take any. */
export const STAND_IN_CREDENTIALS = { accessKeyId: 'test', secretAccessKey: 'test' }
/** For another endpoint: the caller's own credentials, as the SDK finds them, where the environment names any. */
export function credentialsFor({
  AWS_ACCESS_KEY_ID: key,
  AWS_PROFILE: profile,
  AWS_SHARED_CREDENTIALS_FILE: file,
}: ServiceSettings) {
  const isNamed = key !== undefined || profile !== undefined || (file !== undefined && existsSync(file))
  return isNamed ? {} : { credentials: STAND_IN_CREDENTIALS }
}
