import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type EmbeddedAws,
  type EmbeddedAwsOptions,
  MAX_OBJECT_BYTES,
  openDataFolder,
  readIfThere,
  startEmbeddedAws,
  UnusableFolder,
} from '../packages/embedded-aws/index.ts'
import { Budget } from '../packages/image-guard/index.ts'
import { credentialsFor } from '../rekognition/settings.ts'
import type { AwsTarget } from '../shared/aws.ts'
import type { Log } from '../shared/log.ts'
import { orStartError, portTrouble, StartError, type Undo } from '../shared/machine.ts'
import { LOG_FILE, type Settings } from './environment.ts'

/**
 * Bytes of large objects that the embedded S3 has in memory at once, as they come: two of the largest uploads by default,
 * each of which takes four times as much while it is stored. The API and the worker have few of the smaller ones at a time.
 */
const LARGE_BODIES_BYTES = 100_000_000

export interface Aws {
  target: AwsTarget
  /** Undefined where AWS is another endpoint. */
  embedded: EmbeddedAws | undefined
  temporary: string | undefined
}

/**
 * The embedded AWS, or the endpoint that is named instead.
 *
 * @param undo gets what ends it
 * @throws StartError
 */
export async function openAws(
  settings: Settings,
  region: string,
  rekognition: NonNullable<EmbeddedAwsOptions['rekognition']>,
  log: Log,
  undo: Undo,
): Promise<Aws> {
  if (settings.AWS_ENDPOINT_URL !== undefined) {
    const target = { endpoint: settings.AWS_ENDPOINT_URL, region, ...credentialsFor(settings) }
    return { target, embedded: undefined, temporary: undefined }
  }
  for (const name of ['MAX_IMAGE_BYTES', 'MAX_UPLOAD_BYTES'] as const)
    if (settings[name] > MAX_OBJECT_BYTES)
      throw new StartError(`${name}: the embedded S3 takes ${MAX_OBJECT_BYTES} bytes at most`)
  const folder = settings.DATA_DIR ?? orStartError(() => mkdtempSync(join(tmpdir(), 'image-analyzer-')))
  const temporary = settings.DATA_DIR === undefined ? folder : undefined
  if (temporary !== undefined) undo.push(() => rmSync(temporary, { recursive: true, force: true }))
  undo.push(takeFolder(folder))
  const port = settings.AWS_PORT ?? 4566
  const credentials = ownCredentials(folder)
  const largeBodies = new Budget(LARGE_BODIES_BYTES)
  const embedded = await startEmbeddedAws({
    port,
    region,
    folder,
    durable: settings.DATA_DIR !== undefined,
    rekognition,
    credentials: [credentials],
    allowedHosts: settings.ALLOWED_HOSTS,
    inTurn: (bytes, work, turn) => largeBodies.run(bytes, work, { signal: turn }),
    onDropped: (dropped) => log.warn('an event could not be delivered', { ...dropped }),
    onDisk: (sentence) => log.warn(sentence, {}),
  }).catch(portTrouble(port, (free) => `AWS_PORT=${free} npm start`))
  undo.push(embedded.stop)
  return { target: { endpoint: embedded.endpoint, region, credentials }, embedded, temporary }
}

/** The file of ownCredentials. */
const SECRET = 'secret'

/**
 * What this system signs its own requests and URLs with. No page can guess it, so a URL or form that is signed with it is
 * one that the API has given out. Kept in the folder, as forms outlive a restart.
 */
function ownCredentials(folder: string): { accessKeyId: string; secretAccessKey: string } {
  const file = join(folder, SECRET)
  const kept = readIfThere(file)
  const secretAccessKey = kept || randomBytes(30).toString('base64url')
  if (!kept) writeFileSync(file, secretAccessKey, { mode: 0o600 })
  return { accessKeyId: 'image-analyzer', secretAccessKey }
}

/** As messages about the folder name it. */
const FOLDER_OWNER = {
  program: 'image-analyzer',
  setting: 'DATA_DIR',
  contents: 'images',
  files: [SECRET, LOG_FILE],
}

function takeFolder(folder: string): () => void {
  try {
    return openDataFolder(folder, FOLDER_OWNER)
  } catch (error) {
    throw error instanceof UnusableFolder ? new StartError(error.message) : error
  }
}
