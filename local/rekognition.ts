import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { RekognitionClient } from '@aws-sdk/client-rekognition'
import { GetObjectCommand, NoSuchBucket, NoSuchKey, type S3Client } from '@aws-sdk/client-s3'
import {
  countRecordings,
  createRecordings,
  createRekognition as createService,
  type EmbeddedAws,
  type JsonService,
  MAX_S3_BYTES,
  type Recall,
  type RekognitionOptions,
  startService,
} from '../packages/embedded-aws/index.ts'
import type { Decoder } from '../packages/image-guard/index.ts'
import {
  createVision,
  hasModeration,
  isInstalled,
  labelModelVersion,
  MODERATION_MODEL_VERSION,
  type ModelsEnvironment,
  modelsFolder,
  NotUsable,
  readInstalled,
  TEXT_MODEL_VERSION,
  titleOf,
  type Vision,
} from '../packages/vision/index.ts'
import type { AwsTarget } from '../shared/aws.ts'
import type { Log } from '../shared/log.ts'
import { ELSEWHERE_TIMEOUT_MS, rekognitionOptions } from './clients.ts'
import { hasCredentials, type Settings, STAND_IN_CREDENTIALS } from './environment.ts'
import { imageOpener } from './images.ts'
import { portTrouble, StartError } from './trouble.ts'

/** Who answers as Rekognition, and how fast. */
export type StandInOptions = Omit<RekognitionOptions, 'readObject' | 'openImage'> &
  Partial<Pick<RekognitionOptions, 'openImage'>>

/** The embedded Rekognition, with the worker's eyes. */
export const createRekognition = (
  options: StandInOptions & Pick<RekognitionOptions, 'readObject'>,
): JsonService => createService({ openImage: imageOpener(), ...options })

/** Rekognition alone, for a system whose other services are elsewhere. */
export const startRekognition = ({
  readObject,
  rekognition,
  ...port
}: Pick<Parameters<typeof startService>[0], 'port' | 'host' | 'allowedHosts'> &
  Pick<RekognitionOptions, 'readObject'> & { rekognition: StandInOptions }): ReturnType<
  typeof startService
> =>
  startService({
    ...port,
    name: 'RekognitionService',
    service: createRekognition({ readObject, ...rekognition }),
  })

/** Who answers as Rekognition on this machine: open models, or the stand-in, which measures pixels. */
export const STAND_IN = 'the stand-in'
export const LOCAL_MODELS = 'local models'

/** What people are to know of them. */
export const describe = (who: string): string =>
  who === STAND_IN
    ? 'measures pixels'
    : `80 kinds of things, faces, expressions, text${hasModeration() ? ', moderation' : ''}`

/** @returns the same for npm start, with how to have another; empty where there is no more to say */
export function explain(who: string): string {
  if (who === STAND_IN) return ` (${describe(who)}; REKOGNITION=aws uses the real service)`
  if (!who.startsWith(LOCAL_MODELS)) return ''
  return ` (${describe(who)}; REKOGNITION=stand-in measures pixels, aws uses the real service)`
}

/**
 * @param env names the folder of models that people have added
 * @returns the models, and how to name them; undefined where they cannot be used, and then it is said
 * @throws StartError
 */
export function openVision(
  env: ModelsEnvironment,
  warn: (sentence: string) => void,
): { vision: Vision; who: string } | undefined {
  const folder = modelsFolder(env)
  if (env.VISION_MODELS && !existsSync(folder)) throw new StartError(`There are no models at ${folder}.`)
  if (!isInstalled()) {
    warn('The models are not installed, so the stand-in measures pixels; "npm ci" installs them.')
    return undefined
  }
  try {
    const added = readInstalled(folder)
    const titles = added.map(({ manifest }) => titleOf(manifest))
    return { vision: createVision({ added }), who: [LOCAL_MODELS, ...titles].join(' and ') }
  } catch (error) {
    if (!(error instanceof NotUsable)) throw error
    warn(lostVisionMessage(error.message))
    return undefined
  }
}

export const lostVisionMessage = (why: string): string =>
  `The models cannot be used, so the stand-in measures pixels from now on: ${why}`
export const lostTextMessage = (why: string): string =>
  `The models of text cannot be used, so no text is found from now on: ${why}`
export const lostModerationMessage = (why: string): string =>
  `DetectModerationLabels looks for nothing and says so ("stand-in"): ${why}`

/** One byte more than Rekognition takes is enough to be refused: a film need not fit into the memory. */
const Range = `bytes=0-${MAX_S3_BYTES}`

export async function readFromS3(s3: S3Client, bucket: string, key: string): Promise<Uint8Array | undefined> {
  try {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key, Range }))
    return await Body?.transformToByteArray()
  } catch (error) {
    if (error instanceof NoSuchKey || error instanceof NoSuchBucket) return undefined
    throw error
  }
}

/** Who answers as Rekognition, as the settings say. */
export interface Answering {
  /** For people. */
  name: string
  /** Of the embedded Rekognition, where it is asked. */
  standIn: StandInOptions
  vision: Vision | undefined
  /** The real service, where the worker asks it without anything between. */
  real: RekognitionClient | undefined
  /** Another endpoint that answers. */
  elsewhere: string | undefined
  /**
   * How the worker sends images. The real service cannot reach into a bucket on this machine; and what is recorded are
   * answers about the bytes that it was sent, so the same ones have to be sent when they are replayed.
   */
  imagesBy: 'bytes' | 's3'
  /**
   * A question of who answers: the stand-in's measurements are no substitute for Rekognition's, nor for a recording that
   * has been added, nor is an answer without a model one for what it would see.
   */
  source: string
}

/**
 * @param onSource hears of another source, when models turn out not to be usable
 * @throws StartError
 */
export async function openAnswering(
  settings: Settings,
  region: string,
  decoder: Decoder,
  log: Log,
  onSource: (source: string) => void,
): Promise<Answering> {
  const isReal = settings.REKOGNITION === 'aws' || settings.REKOGNITION === 'record'
  const real = isReal ? await realRekognition(settings, region) : undefined
  const recordings = openRecordings(settings, real && { client: real, region })
  // A Rekognition that is named by its address is used.
  const isOwn = settings.REKOGNITION === 'local' && settings.AWS_ENDPOINT_URL_REKOGNITION === undefined
  const models = isOwn ? openVision(settings, (sentence) => log.warn(sentence, {})) : undefined
  const vision = models?.vision
  const named = recordings?.name ?? settings.AWS_ENDPOINT_URL_REKOGNITION
  const name = named ?? (real === undefined ? (models?.who ?? STAND_IN) : 'Amazon Rekognition')
  const sources = new Set([
    name,
    ...(vision === undefined ? [] : [labelModelVersion(), TEXT_MODEL_VERSION]),
    ...(vision !== undefined && hasModeration() ? [MODERATION_MODEL_VERSION] : []),
  ])
  const lost = (sentence: string, model = ''): void => {
    log.warn(sentence, {})
    sources.delete(model)
    onSource([...sources].join(' '))
  }
  const standIn: StandInOptions = {
    ...{ openImage: imageOpener(decoder), recall: recordings?.recall, vision },
    onVisionLost: (why) => {
      sources.clear()
      sources.add(STAND_IN)
      lost(lostVisionMessage(why))
    },
    onTextLost: (why) => lost(lostTextMessage(why), TEXT_MODEL_VERSION),
    onModerationLost: (why) => lost(lostModerationMessage(why), MODERATION_MODEL_VERSION),
    ...(settings.STAND_IN_TPS === undefined ? {} : { tps: settings.STAND_IN_TPS }),
    ...(settings.STAND_IN_LATENCY_MS === undefined ? {} : { latencyMs: settings.STAND_IN_LATENCY_MS }),
  }
  return {
    ...{ name, standIn, vision, source: [...sources].join(' ') },
    real: settings.REKOGNITION === 'aws' ? real : undefined,
    elsewhere: recordings === undefined ? settings.AWS_ENDPOINT_URL_REKOGNITION : undefined,
    imagesBy: real !== undefined || recordings !== undefined ? 'bytes' : 's3',
  }
}

/**
 * The client by which the worker asks. Where AWS is another endpoint, an embedded Rekognition gets a port of its own.
 *
 * @param undo gets what ends it
 * @throws StartError
 */
export async function clientOf(
  { real, elsewhere, standIn, vision }: Answering,
  settings: Settings,
  region: string,
  embedded: EmbeddedAws | undefined,
  s3: S3Client,
  undo: (() => Promise<void> | void)[],
): Promise<RekognitionClient> {
  if (real !== undefined) return real
  // What waits for models in this process waits for its own turn.
  const patience = vision === undefined ? ELSEWHERE_TIMEOUT_MS : undefined
  const client = (target: AwsTarget) => new RekognitionClient(rekognitionOptions(target, patience))
  if (elsewhere !== undefined) {
    const credentials = hasCredentials(settings) ? {} : { credentials: STAND_IN_CREDENTIALS }
    return client({ endpoint: elsewhere, region, ...credentials })
  }
  const credentials = STAND_IN_CREDENTIALS
  if (embedded !== undefined) return client({ endpoint: embedded.endpoint, region, credentials })
  // Any free port unless one is asked for: an emulator of the rest is likely to have 4566.
  const port = settings.AWS_PORT ?? 0
  const server = await startRekognition({
    port,
    readObject: (bucket, key) => readFromS3(s3, bucket, key),
    allowedHosts: settings.ALLOWED_HOSTS,
    rekognition: standIn,
  }).catch(portTrouble(port, (free) => `AWS_PORT=${free} npm start`))
  undo.push(server.stop)
  return client({ endpoint: server.endpoint, region, credentials })
}

/** The real service with the caller's own credentials, as the SDK finds them. */
async function realRekognition(
  { AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_REKOGNITION }: Settings,
  region: string,
): Promise<RekognitionClient> {
  // The SDK would look for it at the endpoint of the other services.
  const beside = AWS_ENDPOINT_URL === undefined ? undefined : `https://rekognition.${region}.amazonaws.com`
  const endpoint = AWS_ENDPOINT_URL_REKOGNITION ?? beside
  const target = { region, ...(endpoint === undefined ? {} : { endpoint }) }
  const client = new RekognitionClient(rekognitionOptions(target, ELSEWHERE_TIMEOUT_MS))
  try {
    await client.config.credentials()
  } catch (error) {
    throw new StartError(
      `Amazon Rekognition needs your AWS credentials: log in with "aws sso login" or "aws configure", choose with AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Without REKOGNITION none are needed. (${(error as Error).message})`,
    )
  }
  return client
}

/** @returns the recorded answers and how to name them, where there are any or some are to be made */
function openRecordings(
  settings: Settings,
  real: { client: RekognitionClient; region: string } | undefined,
): { recall: Recall; name: string } | undefined {
  const { REKOGNITION, RECORDINGS, AWS_ENDPOINT_URL_REKOGNITION } = settings
  const folder = resolve(settings.INIT_CWD ?? '.', RECORDINGS ?? 'recordings')
  if (REKOGNITION === 'record' && real !== undefined) {
    const who = AWS_ENDPOINT_URL_REKOGNITION ?? 'Amazon Rekognition'
    return { recall: createRecordings({ folder, real }), name: `${who}, recorded in ${folder}` }
  }
  // A Rekognition that is named by its address is used.
  if (real !== undefined || AWS_ENDPOINT_URL_REKOGNITION !== undefined) return undefined
  const count = countRecordings(folder)
  if (count !== undefined) {
    return {
      recall: createRecordings({ folder }),
      name: `recordings in ${folder} (${count}), else ${REKOGNITION === 'local' && isInstalled() ? LOCAL_MODELS : STAND_IN}`,
    }
  }
  if (RECORDINGS === undefined) return undefined
  throw new StartError(`There are no recordings in ${folder}; REKOGNITION=record makes some.`)
}
