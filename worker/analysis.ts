import {
  type Attribute,
  DetectFacesCommand,
  DetectLabelsCommand,
  DetectModerationLabelsCommand,
  DetectTextCommand,
  ImageTooLargeException,
  InvalidImageFormatException,
  InvalidParameterException,
  InvalidS3ObjectException,
  ProvisionedThroughputExceededException,
  type RekognitionClient,
  type Image as RekognitionImage,
  RekognitionServiceException,
  ThrottlingException,
} from '@aws-sdk/client-rekognition'
import type { Elapsed } from '../shared/aws.ts'
import {
  ANSWERS,
  type AnalysisName,
  type Answers,
  type Kept,
  type PaidAnalysis,
  paidAnalyses,
  Verdict,
} from '../shared/image.ts'
import { inSpan } from '../shared/messages.ts'
import { type Limiter, OverBudget, TurnTooLate } from './limiter.ts'

export interface Rekognition {
  rekognition: RekognitionClient
  /** Each shared by all batches of this process: Amazon counts the calls of each operation separately. */
  limiters: Record<PaidAnalysis, Pick<Limiter, 'run' | 'rate'>>
  minConfidence: number
  maxLabels: number
  /** Called for each answer, which is billed. */
  paid: (name: PaidAnalysis) => void
}

/** The message in which the job of an image came; `sentAt` in milliseconds since 1970. */
export type Message = { messageId: string; receives: number; sentAt: number }

/** How long the work on an image may take. */
export interface Time {
  /** When it is broken off, by `elapsed`. */
  until: number
  /** Aborted then, or with `ending`. */
  signal: AbortSignal
  /** Aborted where the process is to end, of which the image knows nothing: the attempt does not count. */
  ending: AbortSignal
  /** When this worker is stopped, by `elapsed`. */
  stopped: number
}

/** What Rekognition is sent: an object in S3 (JPEG or PNG, 80 to 10,000 px a side, ≤ 15 MB), or bytes (≤ 5 MB). */
export interface Sendable {
  /** Called once, where a call is to be made. */
  first: () => Promise<RekognitionImage>
  /** Makes a JPEG where Rekognition has refused the original; undefined where `first` gives one already. */
  ifRefused?: (() => Promise<RekognitionImage>) | undefined
}

/** What came of the calls of one attempt. */
export type Analysed = {
  /** Each answer that there is by now, so that no call is paid for twice. */
  kept: Kept
  /** How long each call took, with its turn in the limiter. */
  took: Partial<Record<`${PaidAnalysis}Ms`, number>>
} & (
  | { answers: Answers }
  /** Verdict ANALYSIS_REFUSED where Rekognition refuses the image itself; Throttled; ObjectUnreadable; other trouble. */
  | { error: unknown }
)

/**
 * What Rekognition finds in one image: a paid call for each analysis, side by side. Boxes are fractions of the upright
 * picture. Where it refuses the original, all analyses that have no answer go on with a JPEG of ours: at most two calls of
 * each, of which one is paid for, since a refusal is not billed.
 *
 * @param known from an attempt before
 */
export async function analyse(
  deps: Rekognition & { elapsed: Elapsed },
  { first, ifRefused }: Sendable,
  analyses: AnalysisName[],
  known: Kept,
  time: Time,
): Promise<Analysed> {
  const paid = paidAnalyses(analyses)
  const kept: Kept = { ...known }
  const took: Analysed['took'] = {}
  let begun: Promise<RekognitionImage> | undefined
  let made: Promise<RekognitionImage> | undefined
  let sent: RekognitionImage | undefined
  const answerOf = async (name: PaidAnalysis): Promise<Answers> => {
    begun ??= first()
    const image = await begun
    let asked = image
    const call = () => {
      // When its turn comes the original may have been refused.
      asked = sent ?? image
      return ask(deps, name, asked, time)
    }
    const inTurn = () => onLiveConnection(() => deps.limiters[name].run(call, isThrottling, time))
    try {
      return await inTurn()
    } catch (error) {
      if (ifRefused === undefined || asked !== image || !isRefusal(error)) throw error
      made ??= ifRefused()
      sent = await made
      return inTurn()
    }
  }
  const find = async (name: PaidAnalysis): Promise<void> => {
    const from = deps.elapsed()
    const answer = kept[name] ?? (await inSpan(`analyse ${name}`, () => answerOf(name)))
    if (kept[name] === undefined) {
      took[`${name}Ms`] = Math.round(deps.elapsed() - from)
      deps.paid(name)
    }
    Object.assign(kept, { [name]: answer })
  }
  const findFaces = async (labels: Promise<void>): Promise<void> => {
    await labels
    if (showsPerson(kept.labels)) await find('faces')
  }
  const labels = paid.includes('labels') ? find('labels') : undefined
  const whenPerson = analyses.includes('faces-when-person')
  const calls = await Promise.allSettled(
    paid.map((name) => {
      if (name === 'labels') return labels
      return name === 'faces' && whenPerson && labels !== undefined ? findFaces(labels) : find(name)
    }),
  )
  const errors = calls.flatMap((call) => (call.status === 'rejected' ? [translate(call.reason)] : []))
  // A verdict is final even beside other errors; and only an attempt that met nothing but throttling does not count.
  const worst =
    errors.find((error) => error instanceof Verdict) ?? errors.find((error) => !(error instanceof Throttled))
  if (errors.length > 0) return { kept, took, error: worst ?? errors[0] }
  const answers: Answers = Object.assign({}, ...paid.map((name) => kept[name]))
  if (paid.includes('faces') && kept.faces === undefined) answers.facesSkipped = true
  return { kept, took, answers }
}

/** What Rekognition names where there is a person; its other names for one have such a parent or category. */
const PERSON = new Set(['Person', 'People', 'Human', 'Face', 'Head', 'Person Description'])
const showsPerson = ({ rekognitionLabels = [] }: Answers = {}): boolean =>
  rekognitionLabels.some(({ Name, Parents = [], Categories = [] }) =>
    [Name, ...[...Parents, ...Categories].map((more) => more.Name)].some((name) => PERSON.has(name ?? '')),
  )

/** What lists and events show of the answers. */
export const outline = ({ rekognitionLabels, rekognitionFaces }: Answers) => ({
  ...(rekognitionLabels === undefined ? {} : { labels: rekognitionLabels.map((label) => label.Name) }),
  ...(rekognitionFaces === undefined ? {} : { faceCount: rekognitionFaces.length }),
})

async function ask(
  { rekognition, minConfidence, maxLabels }: Rekognition,
  name: PaidAnalysis,
  Image: RekognitionImage,
  { signal }: Time,
): Promise<Answers> {
  const options = { abortSignal: signal }
  switch (name) {
    case 'labels': {
      const command = new DetectLabelsCommand({ Image, MinConfidence: minConfidence, MaxLabels: maxLabels })
      const { Labels = [], LabelModelVersion = 'unknown' } = await rekognition.send(command, options)
      return ANSWERS.labels.parse({ rekognitionLabels: Labels, labelModelVersion: LabelModelVersion })
    }
    case 'faces': {
      // Without these Rekognition leaves emotions, age and gender out. ALL would triple the size for nothing shown.
      const Attributes: Attribute[] = ['DEFAULT', 'AGE_RANGE', 'GENDER', 'EMOTIONS']
      const { FaceDetails = [] } = await rekognition.send(
        new DetectFacesCommand({ Image, Attributes }),
        options,
      )
      return ANSWERS.faces.parse({ rekognitionFaces: FaceDetails })
    }
    case 'moderation': {
      const command = new DetectModerationLabelsCommand({ Image, MinConfidence: minConfidence })
      const { ModerationLabels = [], ModerationModelVersion = 'unknown' } = await rekognition.send(
        command,
        options,
      )
      return ANSWERS.moderation.parse({
        rekognitionModerationLabels: ModerationLabels,
        moderationModelVersion: ModerationModelVersion,
      })
    }
    case 'text': {
      const { TextDetections = [], TextModelVersion = 'unknown' } = await rekognition.send(
        new DetectTextCommand({ Image }),
        options,
      )
      return ANSWERS.text.parse({
        rekognitionTextDetections: TextDetections,
        textModelVersion: TextModelVersion,
      })
    }
  }
}

/**
 * A connection that has rested may be closed by the other side just as it is used again, or while the function was frozen.
 * The call has met no service then, as a rule, and is made once more at once: that is no attempt at the image. But it may
 * have been served and billed, so the second one is a call of its own, to the budget too.
 */
async function onLiveConnection<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ECONNRESET' && code !== 'EPIPE') throw error
    return call()
  }
}

const isThrottling = (error: unknown): boolean =>
  error instanceof ProvisionedThroughputExceededException || error instanceof ThrottlingException

/** Whether Rekognition does not take the image as it is. */
const isRefusal = (error: unknown): error is RekognitionServiceException =>
  error instanceof InvalidImageFormatException ||
  error instanceof ImageTooLargeException ||
  error instanceof InvalidParameterException ||
  // Not in the service's model, but what it answers to bytes over its limit.
  (error instanceof RekognitionServiceException && error.name === 'ValidationException')

/** Rekognition's findings on the image become verdicts; throttling, time-outs and missing rights stay what they are. */
function translate(error: unknown): unknown {
  if (isRefusal(error)) {
    return new Verdict('ANALYSIS_REFUSED', `Rekognition refused the image: ${error.name}.`, error)
  }
  if (isThrottling(error) || error instanceof TurnTooLate) return new Throttled(error)
  // Also what a bucket in another region or a missing right looks like, so the caller looks whether it is there.
  if (error instanceof InvalidS3ObjectException) return new ObjectUnreadable(error)
  return error
}

/** More was asked than Rekognition's quota or the budget allows: no fault of the image, and no reason to give it up. */
export class Throttled extends Error {
  readonly by: 'quota' | 'budget'
  constructor(cause: unknown) {
    super('Rekognition throttled the call, or may not be called.', { cause })
    this.name = 'Throttled'
    this.by = cause instanceof OverBudget ? 'budget' : 'quota'
  }
}

/** Rekognition could not read the object: it is gone, or the set-up is wrong. */
export class ObjectUnreadable extends Error {
  constructor(cause: unknown) {
    super('Rekognition cannot read the object: is the bucket in its region, and may the worker read it?', {
      cause,
    })
    this.name = 'ObjectUnreadable'
  }
}
