import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { type Output, paint, plain } from './output.ts'
import { signing, signingFetch } from './sign.ts'

/** A line of the log, as docs/log.md has it. */
type Line = Record<string, unknown> & { imageId: string; event: string; timestamp: string }

/** How far back CloudWatch is asked: longer than an image can wait for its end. */
export const CLOUDWATCH_DAYS = 30
const LONGEST_PAUSE_MS = 16_000

/** What a timeline leaves out: where a line belongs, which is the same in all of them, and what stands before the rest. */
const HIDDEN = [
  'level',
  'timestamp',
  'service',
  'event',
  'imageId',
  'requestId',
  'traceId',
  'functionRequestId',
  '_aws',
]

/**
 * @param days that were looked through, where these are not all
 * @returns the exit code
 */
export async function printStory(
  imageId: string,
  texts: AsyncIterable<string>,
  output: Output,
  days?: number,
): Promise<number> {
  const lines: Line[] = []
  try {
    for await (const text of texts) {
      const line = text.includes(imageId) ? parse(text) : undefined
      if (line?.imageId === imageId) lines.push(line)
    }
  } catch (error) {
    output.trouble(`The log cannot be read: ${plain((error as Error).message)}`)
    return 1
  }
  if (lines.length === 0) {
    output.trouble(`The log has no line about ${imageId}${days === undefined ? '' : ` in ${days} days`}.`)
    return 1
  }
  lines.sort((a, b) => Date.parse(a.timestamp) - Date.parse(b.timestamp))
  const began = Date.parse(lines[0]?.timestamp ?? '')
  for (const line of lines) {
    const { timestamp, event, level } = line
    const after = ((Date.parse(timestamp) - began) / 1_000).toFixed(3)
    const facts = plain(Object.entries(line).flatMap(shown).join('  '))
    const style = level === 'ERROR' ? 'red' : event === 'completed' ? 'green' : 'bold'
    output.result({
      text: `${plain(timestamp)}  +${after} s  ${paint(style, plain(event).padEnd(15))}  ${facts}`,
      json: line,
      csv: { timestamp, after, event, facts },
    })
  }
  return 0
}

/** Metrics repeat facts of the line; their names begin with a capital. */
function shown([name, value]: [string, unknown]): string[] {
  if (HIDDEN.includes(name) || /^[A-Z]/.test(name) || value == null) return []
  const { message }: { message?: unknown } = Object(value)
  const text = typeof message === 'string' ? message : value
  return [`${name}=${typeof text === 'string' ? text : JSON.stringify(text)}`]
}

function parse(text: string): Line | undefined {
  try {
    const line: Partial<Line> = Object(JSON.parse(text))
    const isWhole = typeof line.event === 'string' && !Number.isNaN(Date.parse(String(line.timestamp)))
    return isWhole ? (line as Line) : undefined
  } catch {
    // Another program's line, or one that was cut off.
    return undefined
  }
}

export const inFile = (path: string): AsyncIterable<string> =>
  createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })

/** What FilterLogEvents answers, or an error of AWS. */
interface Page {
  events?: { message: string }[]
  nextToken?: string
  __type?: string
  message?: string
}

/** Some requests a second are allowed, and the month of a busy log has more pages than that. */
async function patiently(
  send: Awaited<ReturnType<typeof signingFetch>>,
  ...request: Parameters<typeof send>
): Promise<{ answer: Response; body: Page }> {
  for (let pauseMs = 500; ; pauseMs *= 2) {
    const { host } = new URL(request[0])
    const answer = await Promise.resolve(send(...request)).catch((error) => {
      if (!(error instanceof TypeError)) throw error
      throw new Error(`${host} does not answer (${Object(error.cause).code ?? error.message}).`)
    })
    const body = (await answer.json().catch(() => {
      if (answer.ok) throw new Error(`${host} answers in words that are not those of CloudWatch Logs.`)
      return {}
    })) as Page
    const isBusy = answer.status >= 500 || /Throttling/.test(body.__type ?? '')
    if (!isBusy || pauseMs > LONGEST_PAUSE_MS) return { answer, body }
    await setTimeout(pauseMs)
  }
}

/** By FilterLogEvents (Amazon CloudWatch Logs API), page by page. */
export async function* inCloudWatch(
  groups: string[],
  imageId: string,
  env: NodeJS.ProcessEnv,
): AsyncGenerator<string> {
  const named = env['AWS_ENDPOINT_URL_CLOUDWATCH_LOGS'] || env['AWS_ENDPOINT_URL']
  const signer = await signing(named || '')
  const domain = signer.region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com'
  const endpoint = new URL(named || `https://logs.${signer.region}.${domain}`).href
  const send = await signingFetch(endpoint, signer, 'logs')
  const startTime = Date.now() - CLOUDWATCH_DAYS * 86_400_000
  for (const logGroupName of groups) {
    let nextToken: string | undefined
    do {
      const { answer, body } = await patiently(send, endpoint, {
        method: 'POST',
        headers: {
          'content-type': 'application/x-amz-json-1.1',
          'x-amz-target': 'Logs_20140328.FilterLogEvents',
        },
        body: JSON.stringify({
          logGroupName,
          filterPattern: `{ $.imageId = "${imageId}" }`,
          startTime,
          nextToken,
        }),
      })
      if (!answer.ok) throw new Error(body.message ?? `CloudWatch Logs answers with ${answer.status}.`)
      for (const { message } of body.events ?? []) yield message
      nextToken = body.nextToken
    } while (nextToken !== undefined)
  }
}
