import * as z from 'zod'
import {
  ANSWERS,
  type AnalysisName,
  type Answers,
  analysisKey,
  analysisSchema,
  type FinishedImage,
  type Image,
  type ImageId,
  PAID_ANALYSES,
  type PaidAnalysis,
  type ProcessingImage,
  paidAnalyses,
} from '../shared/image.ts'
import { indexLabels } from '../shared/labels.ts'
import { getImage, markAnnounced, packResults } from '../shared/lifecycle.ts'
import { runOf, say } from '../shared/log.ts'
import { type Announcement, keepExhausted, MAX_EVENTS_PER_CALL, putEvents } from '../shared/messages.ts'
import { bytesKey } from '../shared/table.ts'
import { outline, type Time } from './analysis.ts'
import type { ProcessDeps, WorkerDeps } from './deps.ts'
import { put, read } from './original.ts'

/**
 * Bytes of JSON that the results in an item may have. DynamoDB takes items of 400 KB, counted more tightly than JSON
 * is written (names and values without quotes); the rest of a record is under 20 KB.
 */
export const MAX_RESULT_BYTES = 350_000

type Results = Pick<ProcessDeps, 'now' | 'analysisSource' | 'read'>

/** Seconds for which results count for the same bytes (30 days): Rekognition's models change. */
const RESULTS_LIFETIME_SECONDS = 2_592_000

/** Of one owner, so that no caller finds out what others have submitted. */
const sameBytesKey = (
  { analysisSource }: Pick<ProcessDeps, 'analysisSource'>,
  { owner, original }: Image,
  found: readonly string[],
): string => bytesKey([owner, original.sha256, found.toSorted(), analysisSource])

/** The analyses that results are of; skipped faces have another name, since they do not do where faces are wanted always. */
const foundBy = (names: readonly PaidAnalysis[], facesSkipped = false): string[] =>
  names.map((name) => (name === 'faces' && facesSkipped ? 'faces-when-person' : name))

/** Each set of analyses whose results have all that an image asks for; first that with no other. */
function enoughFor(analyses: AnalysisName[]): string[][] {
  const wanted = paidAnalyses(analyses)
  const sets = [wanted]
  for (const name of PAID_ANALYSES)
    if (!wanted.includes(name)) sets.push(...sets.map((set) => [...set, name]))
  const needsFaces = wanted.includes('faces') && !analyses.includes('faces-when-person')
  return sets.flatMap((set) =>
    set.includes('faces') && !needsFaces ? [foundBy(set), foundBy(set, true)] : [foundBy(set)],
  )
}

/**
 * @returns asks for a finished image of the same owner with the same bytes and all the paid analyses, together with all images
 *   of the batch that are claimed by then. What it names may be gone
 */
export function findSameBytes(deps: Results, image: Image): () => Promise<string | undefined> {
  if (paidAnalyses(image.analyses).length === 0) return async () => undefined
  const reads = enoughFor(image.analyses).map((found) => deps.read(sameBytesKey(deps, image, found)))
  return async () => {
    const items = await Promise.all(reads.map((read) => read()))
    const now = deps.now().getTime()
    const known = items.map((item) => bytesSchema.optional().parse(item))
    return known.find((item) => item !== undefined && item.expiresAt * 1_000 >= now)?.target
  }
}
const bytesSchema = z.object({ target: z.string(), expiresAt: z.number() })

/** The items by which later images with the same bytes find these results; none for results that were not paid for. */
export function bytesOf(deps: Results, image: FinishedImage): Record<string, unknown>[] {
  const wasPaid = image.status === 'completed' && image.reused === undefined
  if (!wasPaid || paidAnalyses(image.analyses).length === 0) return []
  const found = foundBy(paidAnalyses(image.analyses), image.facesSkipped)
  const expiresAt = Math.floor(deps.now().getTime() / 1_000) + RESULTS_LIFETIME_SECONDS
  return [{ imageId: sameBytesKey(deps, image, found), target: image.imageId, expiresAt }]
}

/**
 * The answers for the same bytes, of the same owner, by the analyses that the image asks for: these are not paid for again.
 *
 * @param imageId what `findSameBytes` has found
 */
export async function knownAnswers(
  deps: ProcessDeps,
  image: ProcessingImage,
  imageId: string | undefined,
): Promise<Answers | undefined> {
  const other = imageId === undefined ? undefined : await getImage(deps, imageId)
  if (other?.status !== 'completed' || other.owner !== image.owner) return undefined
  // Until DynamoDB deletes it, an expired image is there for no caller.
  if (other.expiresAt !== undefined && other.expiresAt * 1_000 <= deps.now().getTime()) return undefined
  // Its object may have been deleted; then these bytes are analysed again.
  const whole = other.analysis === undefined ? undefined : await read(deps, other.analysis.key)
  if (other.analysis !== undefined && whole === undefined) return undefined
  const { facesSkipped, ...answers } = analysisSchema.parse(
    whole === undefined ? other : JSON.parse(whole.toString()),
  )
  const names = paidAnalyses(image.analyses)
  const fields = names.flatMap((name) => Object.keys(ANSWERS[name].shape))
  return {
    ...Object.fromEntries(Object.entries(answers).filter(([field]) => fields.includes(field))),
    ...(facesSkipped && names.includes('faces') && { facesSkipped }),
  }
}

/** Results that are too large for an item go into an object, whole; the item keeps what lists and events show. */
export async function fitItem(
  deps: ProcessDeps,
  imageId: ImageId,
  answers: Answers,
  time: Time,
): Promise<object> {
  const whole = Buffer.from(JSON.stringify(answers))
  if (whole.length <= MAX_RESULT_BYTES)
    return { ...(deps.packResults ? packResults(answers) : answers), ...outline(answers) }
  const { rekognitionLabels, rekognitionFaces, rekognitionTextDetections: _text, ...small } = answers
  return {
    ...small,
    ...outline(answers),
    ...(rekognitionLabels && {
      rekognitionLabels: rekognitionLabels.map(({ Name, Confidence }) => ({ Name, Confidence })),
    }),
    ...(rekognitionFaces && {
      rekognitionFaces: rekognitionFaces.map(({ BoundingBox, Confidence, Emotions }) => ({
        BoundingBox,
        Confidence,
        Emotions,
      })),
    }),
    analysis: await put(deps, analysisKey(imageId), whole, 'application/json', time),
  }
}

export type Announce = (image: FinishedImage) => Promise<void>

/**
 * Has a finished image found and announced: again unless the record has the announcement, because one before may have been lost.
 *
 * @returns why it is not announced
 */
export async function announceOnce(
  deps: WorkerDeps,
  image: FinishedImage,
  announce: Announce,
): Promise<{ error: unknown } | undefined> {
  if (image.announced === image.epoch) return undefined
  const from = deps.elapsed()
  // Before the event, so that a subscriber's search finds it.
  await indexLabels(deps, image, deps.knownNames, bytesOf(deps, image))
  const refused = await announce(image).then(
    () => undefined,
    (error) => ({ error }),
  )
  if (refused !== undefined) return refused
  await keepExhausted(deps, image)
  await markAnnounced(deps, image)
  const announceMs = Math.round(deps.elapsed() - from)
  say(deps.log, 'announced', { ...runOf(image), outcome: image.status, announceMs })
  return undefined
}

/** Milliseconds that a finished image's event waits for the rest of its batch, before it goes without them. */
const LINGER_MS = 2_000

interface Waiting {
  announcement: Announcement
  resolve: () => void
  reject: (error: unknown) => void
}

/**
 * The events of one batch, sent in as few calls as possible: they go when every image of the batch has either an
 * event or none to give, when a call is full, or when the first has waited long enough.
 */
export class Announcements {
  readonly #deps: WorkerDeps
  #waiting: Waiting[] = []
  #expected: number
  #lingering: AbortController | undefined
  readonly #count: () => void

  /**
   * @param expected how many images there are; each has to call `announce` or `pass` once
   * @param count runs before each call: what is announced has been counted, also where the worker dies of it
   */
  constructor(deps: WorkerDeps, expected: number, count: () => void) {
    this.#deps = deps
    this.#expected = expected
    this.#count = count
  }

  /** Resolves when EventBridge has acknowledged this event; another one's refusal does not matter to it. */
  announce(announcement: Announcement): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ announcement, resolve, reject })
      if (this.#lingering === undefined) {
        this.#lingering = new AbortController()
        this.#deps.sleep(LINGER_MS, this.#lingering.signal).then(
          () => this.#send(),
          () => {},
        )
      }
      this.pass()
    })
  }

  /** One image fewer to wait for. */
  pass(): void {
    this.#expected -= 1
    if (this.#expected === 0 || this.#waiting.length === MAX_EVENTS_PER_CALL) this.#send()
  }

  #send(): void {
    this.#lingering?.abort()
    this.#lingering = undefined
    const sent = this.#waiting
    this.#waiting = []
    if (sent.length > 0) void this.#put(sent)
  }

  async #put(sent: Waiting[]): Promise<void> {
    this.#count()
    try {
      const announcements = sent.map(({ announcement }) => announcement)
      const refused = await putEvents(this.#deps, announcements)
      sent.forEach(({ resolve, reject }, index) => {
        const reason = refused[index]
        if (reason === undefined) resolve()
        else reject(new Error(`The event bus ${this.#deps.eventBus} did not take the event: ${reason}.`))
      })
    } catch (error) {
      for (const { reject } of sent) reject(error)
    }
  }
}
