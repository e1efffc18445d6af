import { createHash, randomUUID } from 'node:crypto'
import { openAsBlob } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { addAbortSignal } from 'node:stream'
import { findFiles, type Path, readError } from './files.ts'
import {
  type Accepted,
  type AnalysisName,
  ApiError,
  type Client,
  type Image,
  isFinished,
  MAX_DIRECT_BYTES,
  type UploadForm,
} from './index.ts'
import type { Journal } from './journal.ts'
import {
  COMMAND,
  type Counts,
  inBytes,
  type Output,
  paint,
  plain,
  type Result,
  startProgress,
} from './output.ts'

export interface UploadCommand {
  client: Client
  output: Output
  journal: Journal
  /** A dash is standard input. */
  names: string[]
  /** Of standard input. */
  filename: string | undefined
  /** What an image is sent to, and by whom: the same bytes sent elsewhere are another image. */
  scope: string[]
  wait: boolean
  concurrency: number
  analyses: AnalysisName[] | undefined
  /** No new file is begun after `stop`; what is under way ends with `abort`. */
  stop: AbortSignal
  abort: AbortSignal
}

/** What is sent: a file, or what standard input has brought. */
type Source = { path: string; filename: string | undefined; bytes: number } & (
  | { file: Path; input?: undefined }
  | { input: Uint8Array }
)

/** How a file of a run ended. */
interface Ended {
  file: string
  status: 'accepted' | 'completed' | 'failed' | 'skipped'
  bytes?: number
  sha256?: string
  imageId?: string
  via?: Accepted['via']
  /** It was sent by a run before. */
  resumed?: true
  /** Another file of this run with the same bytes: both are one image. */
  sameAs?: string
  code?: string
  detail?: string
  image?: Image
}

/** What has become of a command so far. */
interface Run extends UploadCommand {
  counts: Counts
  skipped: number
  /** Answers of 503 in a row. */
  unavailable: number
  /** Why no other file is begun. */
  fatal: ApiError | undefined
}

/** Images that may be accepted and not finished yet while more are sent: what a run keeps in memory. */
const MAX_WAITING = 1_000
/** Answers of 503 in a row, each after long patience, that end a run: its files are not to blame. */
const MAX_UNAVAILABLE = 10
/** Standard input is kept in memory; more than this no API takes by default. */
const MAX_INPUT_BYTES = 200_000_000
/** A form that is about to expire is not begun with. */
const FORM_MARGIN_MS = 60_000

export const STDIN = '-'

/** @returns undefined where it is more than anybody wants in memory; rejects where it is stopped */
async function readInput(stop: AbortSignal): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of addAbortSignal(stop, process.stdin) as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > MAX_INPUT_BYTES) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, length)
}

/** @returns the exit code */
export async function upload(command: UploadCommand): Promise<number> {
  const counts: Counts = { files: 0, bytes: 0, done: 0, sentBytes: 0, failed: 0, waiting: 0 }
  const run: Run = { ...command, counts, skipped: 0, unavailable: 0, fatal: undefined }
  const sources = await collect(run)
  const stopProgress = startProgress(run.output, counts)
  try {
    await sendAll(run, sources)
  } finally {
    stopProgress()
  }
  return sumUp(run)
}

function end(run: Run, ended: Ended): void {
  if (ended.status === 'skipped') run.skipped += 1
  else run.counts.done += 1
  if (ended.status === 'failed') run.counts.failed += 1
  run.output.result(toResult(ended))
}

/** What the arguments name. Of that, what cannot be sent has ended. */
async function collect(run: Run): Promise<Source[]> {
  const { client, counts, stop, abort } = run
  const sources: Source[] = []
  const add = (source: Source) => {
    const { path, bytes } = source
    if (bytes === 0) {
      return end(run, {
        file: path,
        status: 'failed',
        bytes,
        code: 'EMPTY_IMAGE',
        detail: 'It has no bytes.',
      })
    }
    counts.bytes += bytes
    sources.push(source)
  }
  if (run.names.includes(STDIN)) {
    counts.files += 1
    const input = await readInput(stop)
    if (input !== undefined) {
      add({ path: STDIN, filename: run.filename, bytes: input.length, input })
    } else {
      const detail = `Standard input has more than ${inBytes(MAX_INPUT_BYTES)}.`
      end(run, { file: STDIN, status: 'failed', code: 'IMAGE_TOO_LARGE', detail })
    }
  }
  const takesHeic = async (): Promise<boolean> =>
    (await client.contentTypes({ signal: abort }).catch((): string[] => [])).includes('image/heic')
  const names = run.names.filter((name) => name !== STDIN)
  for await (const found of findFiles(names, takesHeic)) {
    if (stop.aborted) break
    if (found.skipped !== undefined) {
      end(run, { file: found.path, status: 'skipped', detail: found.skipped })
      continue
    }
    counts.files += 1
    if (found.failed !== undefined) end(run, { file: found.path, status: 'failed', ...found.failed })
    else add({ ...found, filename: basename(found.path) })
  }
  return sources
}

const isStopped = ({ stop, fatal }: Run): boolean => stop.aborted || fatal !== undefined

/** Some at once, until all have ended or the run is stopped. */
async function sendAll(run: Run, sources: Source[]): Promise<void> {
  const send = createSender(run, run.counts)
  const waiting = createWaiting(run)

  async function one(source: Source): Promise<void> {
    const { path, bytes } = source
    let sent: Sent
    try {
      sent = await send(source)
      run.unavailable = 0
    } catch (error) {
      return settle(run, { file: path, bytes }, error)
    }
    const ended = { file: path, bytes, ...sent }
    if (run.wait && (sent.image === undefined || !isFinished(sent.image))) return waiting.add(ended)
    const { image: _, ...accepted } = finish(ended)
    end(run, run.wait ? finish(ended) : accepted)
  }

  let next = 0
  const work = async () => {
    for (let source = sources[next++]; source !== undefined && !isStopped(run); source = sources[next++])
      await one(source)
  }
  await Promise.all(Array.from({ length: run.concurrency }, work))
  await waiting.all()
}

/** Waits for accepted images, beside what is sent. */
function createWaiting(run: Run) {
  const { client, counts, stop } = run
  const room = slots(MAX_WAITING)
  const waiters = slots(run.concurrency)
  const waits = new Set<Promise<void>>()

  async function waitFor(ended: Sent & { file: string; bytes: number }): Promise<void> {
    await waiters.take()
    try {
      if (isStopped(run)) return
      // The API finishes what it has accepted, so nothing is lost by not waiting.
      end(run, finish({ ...ended, image: await client.wait(ended.imageId, { signal: stop }) }))
    } catch (error) {
      if (!stop.aborted) settle(run, ended, error)
    } finally {
      waiters.give()
    }
  }

  return {
    /** Comes back as soon as there is room for another one. */
    add: async (ended: Parameters<typeof waitFor>[0]): Promise<void> => {
      counts.waiting += 1
      await room.take()
      const waited = waitFor(ended).finally(() => {
        counts.waiting -= 1
        room.give()
        waits.delete(waited)
      })
      waits.add(waited)
    },
    all: () => Promise.all(waits),
  }
}

/** An error is this file's, or ends the run, or is the run being ended. */
function settle(run: Run, ended: Pick<Ended, 'file' | 'bytes' | 'imageId'>, error: unknown) {
  const { stop, abort } = run
  if (abort.aborted || (stop.aborted && !(error instanceof ApiError))) return
  if (!(error instanceof ApiError)) return end(run, { ...ended, status: 'failed', ...readError(error) })
  run.unavailable = error.code === 'UNAVAILABLE' ? run.unavailable + 1 : 0
  const fatalCodes = [
    'UNREACHABLE',
    'UNAUTHENTICATED',
    'TOO_MANY_REQUESTS',
    'BUDGET_EXHAUSTED',
    'UNEXPECTED_ANSWER',
  ]
  if (fatalCodes.includes(error.code) || run.unavailable >= MAX_UNAVAILABLE) run.fatal ??= error
  else end(run, { ...ended, status: 'failed', code: error.code, detail: error.detail })
}

/** Says what a run has come to. @returns the exit code */
function sumUp({ output, wait, stop, counts, skipped, fatal }: Run): number {
  const { done, failed } = counts
  const left = counts.files - done
  const howToResume = 'The same command resumes from here and sends nothing twice.'
  if (stop.aborted) {
    output.trouble(`Stopped: ${done} of ${counts.files} files are finished. ${howToResume}`)
    return 130
  }
  if (fatal !== undefined) {
    output.trouble(`${explain(fatal)}\n${done} of ${counts.files} files are finished. ${howToResume}`)
    return fatal.code === 'UNREACHABLE' ? 3 : 1
  }
  if (counts.files === 0) output.trouble('There is no image among the named files.')
  else {
    const sum = [`${done - failed} ${wait ? 'completed' : 'accepted'}`]
    if (failed > 0) sum.push(`${failed} failed`)
    if (skipped > 0) sum.push(`${skipped} skipped`)
    output.note(`${sum.join(', ')} (${inBytes(counts.sentBytes)} sent)`)
  }
  return failed > 0 || left > 0 || counts.files === 0 ? 1 : 0
}

type Sent = Required<Pick<Ended, 'imageId' | 'sha256'>> & Pick<Ended, 'via' | 'resumed' | 'sameAs' | 'image'>

async function read(
  source: Source,
  abort: AbortSignal,
): Promise<{ image: Uint8Array | Blob; sha256: string }> {
  const hash = createHash('sha256')
  if (source.input !== undefined || source.bytes <= MAX_DIRECT_BYTES) {
    const image = source.input ?? (await readFile(source.file, { signal: abort }))
    return { image, sha256: hash.update(image).digest('hex') }
  }
  // On disk until it is sent; reading fails if the file is changed in between.
  const image = await openAsBlob(source.file)
  for await (const chunk of image.stream()) {
    abort.throwIfAborted()
    hash.update(chunk)
  }
  return { image, sha256: hash.digest('hex') }
}

function createSender(command: UploadCommand, counts: Counts) {
  const { client, journal, scope, analyses, abort } = command
  const underWay = new Map<string, { path: string; sent: Promise<Sent> }>()

  /** Sends one file, or finds that this has been done. */
  return async function send(source: Source): Promise<Sent> {
    const { path, bytes: size } = source
    const { image, sha256 } = await read(source, abort)
    const key = createHash('sha256')
      .update(JSON.stringify([...scope, analyses?.toSorted() ?? null, sha256]))
      .digest('hex')
    const twin = underWay.get(key)
    if (twin !== undefined) {
      const { imageId, image: known } = await twin.sent
      counts.bytes -= size
      return { imageId, sha256, sameAs: twin.path, ...(known === undefined ? {} : { image: known }) }
    }
    const sent = sendOnce(key, sha256, source, image)
    underWay.set(key, { path, sent })
    // Others that wait for it hear of the failure too; here it is not to count as unheard.
    sent.catch(() => {})
    return sent
  }

  async function sendOnce(
    key: string,
    sha256: string,
    { filename, bytes: size }: Source,
    image: Uint8Array | Blob,
  ): Promise<Sent> {
    const known = journal.get(key)
    const before = known && (await find(known.imageId))
    // Accepted, as far as that run knew, or as the image itself shows.
    if (known && before && (known.form === undefined || before.status !== 'awaiting_upload')) {
      counts.bytes -= size
      return { imageId: known.imageId, sha256, resumed: true, image: before }
    }
    const isGood = before && known?.form && Date.parse(known.form.expiresAt) - Date.now() > FORM_MARGIN_MS
    let progress = 0
    const post = (idempotencyKey: string, form?: UploadForm) =>
      client.upload(image, {
        filename,
        idempotencyKey,
        analyses,
        signal: abort,
        form,
        onForm: (form) => journal.add({ key, sha256, imageId: form.imageId, form }),
        onProgress: (bytes) => {
          counts.sentBytes += bytes - progress
          progress = bytes
        },
      })
    // To the API another name is another request, and an image that was deleted keeps its key.
    const gone = before === undefined ? known?.imageId : undefined
    const own = createHash('sha256')
      .update(JSON.stringify([key, filename, gone]))
      .digest('hex')
    const { imageId, via } = await post(own, isGood ? known.form : undefined).catch((error: unknown) => {
      const code = error instanceof ApiError && error.code
      // Good by this machine's clock only, or signed by credentials that have ended before it.
      if (code === 'UPLOAD_REFUSED' && isGood) return post(own)
      // Deleted, and in no journal.
      if (code === 'IMAGE_NOT_FOUND') return post(randomUUID())
      throw error
    })
    journal.add({ key, sha256, imageId })
    return { imageId, sha256, via }
  }

  /** A journal may outlive its images: images are deleted, and a server may keep nothing. */
  async function find(imageId: string): Promise<Image | undefined> {
    try {
      return await client.get(imageId, { signal: abort })
    } catch (error) {
      if (error instanceof ApiError && error.code === 'IMAGE_NOT_FOUND') return undefined
      throw error
    }
  }
}

function finish(ended: Omit<Ended, 'status'>): Ended {
  const { image } = ended
  if (image === undefined || !isFinished(image)) return { ...ended, status: 'accepted' }
  if (image.status === 'completed') return { ...ended, status: 'completed' }
  return { ...ended, status: 'failed', code: image.failure.code, detail: image.failure.message }
}

function toResult(ended: Ended): Result {
  const { file, status, ...rest } = ended
  const { imageId, code, detail, resumed, sameAs, image } = rest
  const style = { accepted: 'green', completed: 'green', failed: 'red', skipped: 'dim' } as const
  const labels =
    image?.status === 'completed' ? image.rekognitionLabels?.map((label) => label.Name) : undefined
  const remarks = [
    imageId,
    resumed && 'sent before',
    sameAs && `the same as ${sameAs}`,
    [code, detail].filter((text) => text !== undefined).join(': '),
    labels?.slice(0, 5).join(', '),
  ]
  return {
    text: `${paint(style[status], status.padEnd(9))}  ${plain([file, ...remarks.filter(Boolean)].join('  '))}`,
    json: { file, status, ...rest },
    csv: {
      file,
      status,
      imageId,
      bytes: ended.bytes,
      sha256: ended.sha256,
      code,
      detail,
      width: image?.original.width,
      height: image?.original.height,
      labels: labels?.join('; '),
      faces: image?.status === 'completed' ? image.rekognitionFaces?.length : undefined,
    },
  }
}

const inWords = (seconds: number): string =>
  seconds > 7_200 ? `${Math.ceil(seconds / 3_600)} h` : `${Math.max(1, Math.ceil(seconds / 60))} min`

/** What an error means for the user of the command, and what to do. */
export function explain(error: ApiError): string {
  const address = 'Is the address right (--endpoint or IMAGE_ANALYZER_ENDPOINT)'
  // Who the API knows and refuses has its reason; a gateway that knows no such address answers 403 too.
  const forbidden = error.instance === undefined ? `${address}, on AWS with the stage at its end?` : ''
  const todo: Partial<Record<ApiError['code'], string>> = {
    UNREACHABLE: `Is it running (npm start), and is the address right (--endpoint or IMAGE_ANALYZER_ENDPOINT)? "${COMMAND} doctor" checks more.`,
    UNAUTHENTICATED: error.challenge?.startsWith('AWS4')
      ? 'This API needs requests signed by AWS credentials that it knows: set those, and use --sign.'
      : error.status === 403
        ? forbidden
        : 'Give a token that is good here, by --token or IMAGE_ANALYZER_TOKEN.',
    UNEXPECTED_ANSWER: `${address}?`,
    TOO_MANY_REQUESTS: error.retryAfter === undefined ? '' : `Try again in ${inWords(error.retryAfter)}.`,
  }
  return plain(`${error.code}: ${error.detail} ${todo[error.code] ?? ''}`.trim())
}

function slots(free: number) {
  const queue: (() => void)[] = []
  let left = free
  return {
    take: async (): Promise<void> => {
      if (left > 0) left -= 1
      else await new Promise<void>((resolve) => queue.push(resolve))
    },
    give: (): void => {
      const next = queue.shift()
      if (next === undefined) left += 1
      else next()
    },
  }
}
