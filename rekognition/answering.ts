import { resolve } from 'node:path'
import { RekognitionClient } from '@aws-sdk/client-rekognition'
import type { S3Client } from '@aws-sdk/client-s3'
import {
  countRecordings,
  createRecordings,
  type EmbeddedAws,
  type Recall,
} from '../packages/embedded-aws/index.ts'
import type { Decoder } from '../packages/image-guard/index.ts'
import {
  hasModeration,
  isInstalled,
  labelModelVersion,
  MODERATION_MODEL_VERSION,
  TEXT_MODEL_VERSION,
  type Vision,
} from '../packages/vision/index.ts'
import { type AwsTarget, clientOptions } from '../shared/aws.ts'
import type { Log } from '../shared/log.ts'
import {
  ELSEWHERE_TIMEOUT_MS,
  patient,
  portTrouble,
  SOCKETS,
  StartError,
  type Undo,
} from '../shared/machine.ts'
import {
  ALL_MODELS,
  imageOpener,
  LOCAL_MODELS,
  openVision,
  readFromS3,
  STAND_IN,
  type StandInOptions,
  sayWhatIsLost,
  startRekognition,
} from './service.ts'
import { type AnsweringSettings, credentialsFor, limitsOf, STAND_IN_CREDENTIALS } from './settings.ts'

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
  given: AnsweringSettings,
  region: string,
  decoder: Decoder,
  log: Log,
  onSource: (source: string) => void,
): Promise<Answering> {
  const settings = { ...given, REKOGNITION: given.REKOGNITION ?? (isInstalled() ? 'local' : 'stand-in') }
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
  const lost = (sentence: string, what: string): void => {
    log.warn(sentence, {})
    sources.delete(what)
    if (what === ALL_MODELS) {
      sources.clear()
      sources.add(STAND_IN)
    }
    onSource([...sources].join(' '))
  }
  const standIn: StandInOptions = {
    openImage: imageOpener(decoder),
    recall: recordings?.recall,
    vision,
    ...sayWhatIsLost(lost),
    ...limitsOf(settings),
  }
  return {
    name,
    standIn,
    vision,
    source: [...sources].join(' '),
    real: settings.REKOGNITION === 'aws' ? real : undefined,
    elsewhere: recordings === undefined ? settings.AWS_ENDPOINT_URL_REKOGNITION : undefined,
    imagesBy: real !== undefined || recordings !== undefined ? 'bytes' : 's3',
  }
}

/** Options of a client of Rekognition. The limiters try again what is throttled, and the queue the rest. */
const rekognitionOptions = (target: AwsTarget, ms?: number) => ({
  ...patient(clientOptions(target, SOCKETS), ms),
  maxAttempts: 1,
})

/**
 * The client by which the worker asks. Where AWS is another endpoint, an embedded Rekognition gets a port of its own.
 *
 * @param undo gets what ends it
 * @throws StartError
 */
export async function clientOf(
  { real, elsewhere, standIn, vision }: Answering,
  settings: AnsweringSettings,
  region: string,
  embedded: EmbeddedAws | undefined,
  s3: S3Client,
  undo: Undo,
): Promise<RekognitionClient> {
  if (real !== undefined) return real
  // What waits for models in this process waits for its own turn.
  const patience = vision === undefined ? ELSEWHERE_TIMEOUT_MS : undefined
  const client = (target: AwsTarget) => new RekognitionClient(rekognitionOptions(target, patience))
  if (elsewhere !== undefined) return client({ endpoint: elsewhere, region, ...credentialsFor(settings) })
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
  { AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_REKOGNITION }: AnsweringSettings,
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
  settings: AnsweringSettings,
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
