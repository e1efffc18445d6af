import {
  type BatchResultErrorEntry,
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
} from '@aws-sdk/client-sqs'
import { getImage } from '../shared/lifecycle.ts'
import { type Job, readJobs } from '../shared/messages.ts'
import type { OpsDeps } from './images.ts'
import { counted } from './trouble.ts'

/** A part of the dead letters, which SQS itself moves all together only. */

interface Letter {
  body: string
  handle: string
  /** ISO 8601, UTC. */
  sentAt: string
  group: string | undefined
}

/** Which are meant; all that is given has to fit. */
export interface LetterChoice {
  /** Of the failure of its image, as its record has it. */
  code?: string | undefined
  /** ISO 8601, UTC. */
  before?: string | undefined
}

/** How many letters came to what; SQS may take some messages of a call and refuse others. */
export interface Redriven {
  moved: number
  /** Not taken as jobs: they are dead letters still. */
  refused: number
  /** Moved, and dead letters still, since SQS has not deleted them. */
  doubled: number
  /** Not moved, and not to be received before HELD_SECONDS are over. */
  hidden: number
  /** What SQS says of the last of them. */
  reason?: string
}

/** What SQS takes in one call (Amazon SQS quotas). */
const MOST_PER_CALL = 10
/** Seconds for which letters that are looked at are hidden; what is left of them after a crash shows again then. */
const HELD_SECONDS = 900
/** Where there are letters, and none can be received. */
export const HIDDEN = `The dead letters are hidden, since something has just received them: try again in ${HELD_SECONDS / 60} minutes at the latest.`

const inTens = <T>(items: T[]): T[][] =>
  Array.from({ length: Math.ceil(items.length / MOST_PER_CALL) }, (_, index) =>
    items.slice(index * MOST_PER_CALL, (index + 1) * MOST_PER_CALL),
  )

/**
 * Moves dead letters to the jobs: each is sent before it is deleted, so that a crash in between leaves it twice, of which
 * the second job ends quietly. All others show again at once.
 *
 * @param isConfirmed answers whether to go on, with how many of how many are chosen
 * @param ending breaks it off
 */
export async function redriveChosen(
  deps: OpsDeps,
  deadUrl: string,
  choice: LetterChoice,
  isConfirmed: (chosen: number, all: number) => Promise<boolean>,
  ending?: AbortSignal,
): Promise<Redriven> {
  const left = new Set<Letter>()
  const redriven: Redriven = { moved: 0, refused: 0, doubled: 0, hidden: 0 }
  const count = (
    as: keyof Omit<Redriven, 'reason'>,
    { Failed = [] }: { Failed?: BatchResultErrorEntry[] | undefined },
  ) => {
    redriven[as] += Failed.length
    const { Code, Message = Code } = Failed.at(-1) ?? {}
    if (Message !== undefined) redriven.reason = Message
  }
  try {
    for await (const letter of hold(deps, deadUrl)) {
      left.add(letter)
      ending?.throwIfAborted()
    }
    const letters = [...left]
    const chosen: Letter[] = []
    for (const ten of inTens(letters)) {
      ending?.throwIfAborted()
      const fits = await Promise.all(ten.map((letter) => isChosen(deps, letter, choice)))
      chosen.push(...ten.filter((_, index) => fits[index]))
    }
    if (!(await isConfirmed(chosen.length, letters.length))) return redriven
    for (const ten of inTens(chosen)) {
      ending?.throwIfAborted()
      const answer = await send(deps, ten)
      count('refused', answer)
      const sent = (answer.Successful ?? []).flatMap(({ Id }) => ten[Number(Id)] ?? [])
      if (sent.length > 0) count('doubled', await remove(deps, deadUrl, sent))
      for (const letter of sent) left.delete(letter)
      redriven.moved += sent.length
    }
  } finally {
    for (const ten of inTens([...left])) count('hidden', await show(deps, deadUrl, ten))
  }
  return redriven
}

/** Receives all letters that are there; SQS hides each for that time. */
async function* hold({ sqs }: OpsDeps, QueueUrl: string): AsyncGenerator<Letter> {
  for (;;) {
    const { Messages = [] } = await sqs.send(
      new ReceiveMessageCommand({
        QueueUrl,
        MaxNumberOfMessages: MOST_PER_CALL,
        VisibilityTimeout: HELD_SECONDS,
        // Without a wait SQS looks at some of its servers only.
        WaitTimeSeconds: 1,
        MessageSystemAttributeNames: ['SentTimestamp', 'MessageGroupId'],
      }),
    )
    if (Messages.length === 0) return
    for (const { Body = '', ReceiptHandle = '', Attributes = {} } of Messages) {
      const sentAt = new Date(Number(Attributes.SentTimestamp)).toISOString()
      yield { body: Body, handle: ReceiptHandle, sentAt, group: Attributes.MessageGroupId }
    }
  }
}

async function isChosen(deps: OpsDeps, { body, sentAt }: Letter, choice: LetterChoice): Promise<boolean> {
  if (choice.before !== undefined && sentAt > choice.before) return false
  if (choice.code === undefined) return true
  const job = jobIn(body)
  const image = job === undefined ? undefined : await getImage(deps, job.imageId)
  return image?.status === 'failed' && image.failure.code === choice.code
}

/** @returns undefined for a message that is no job: that is why it became a dead letter */
function jobIn(body: string): Job | undefined {
  try {
    return readJobs(body)[0]
  } catch {
    return undefined
  }
}

const send = ({ sqs, jobQueueUrl }: OpsDeps, letters: Letter[]) =>
  sqs.send(
    new SendMessageBatchCommand({
      QueueUrl: jobQueueUrl,
      Entries: letters.map(({ body, group }, index) => ({
        Id: String(index),
        MessageBody: body,
        ...(group === undefined ? {} : { MessageGroupId: group }),
      })),
    }),
  )

const remove = ({ sqs }: OpsDeps, QueueUrl: string, letters: Letter[]) =>
  sqs.send(
    new DeleteMessageBatchCommand({
      QueueUrl,
      Entries: letters.map(({ handle }, index) => ({ Id: String(index), ReceiptHandle: handle })),
    }),
  )

const show = ({ sqs }: OpsDeps, QueueUrl: string, letters: Letter[]) =>
  sqs.send(
    new ChangeMessageVisibilityBatchCommand({
      QueueUrl,
      Entries: letters.map(({ handle }, index) => ({
        Id: String(index),
        ReceiptHandle: handle,
        VisibilityTimeout: 0,
      })),
    }),
  )

/** @returns a sentence for each kind of them that did not come out as was asked */
export const letterTrouble = ({ refused, doubled, hidden, reason }: Redriven): string[] => [
  ...(refused === 0 ? [] : [`SQS has refused ${refused}, which stay dead letters: ${reason}`]),
  ...(doubled === 0
    ? []
    : [
        `SQS has not deleted ${doubled} of those moved, which stay dead letters too; moved again, they end quietly: ${reason}`,
      ]),
  ...(hidden === 0
    ? []
    : [
        `SQS keeps ${counted(hidden, 'dead letter')} hidden for ${HELD_SECONDS / 60} minutes at the most: ${reason}`,
      ]),
]
