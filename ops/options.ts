import { parseArgs } from 'node:util'
import { FAILURE_CODES } from '../shared/image.ts'
import { wrongOption } from '../shared/machine.ts'
import type { Choice } from './images.ts'
import { UsageError } from './trouble.ts'

/** What an operator may ask for, and how it is read. */

export const HELP = `npm run ops -- <command> [options]

  failures        failed images by their code and cause, with samples; --since 24h, --code C
  retry           analyses failed images again; --code C, --since 24h (needs one of them)
  redrive         moves dead letters back to the jobs: each image begins its next run; --code C, --older-than 24h
  cancel          deletes images that wait, also those that have waited before; --since 24h, --owner-hash H (needs one of them)
  cost            calls of Rekognition paid for this month, by day and analysis, and what is reserved of a budget
  quota           images that wait, or are in work; those that Rekognition has throttled, also in the last hour, and that wait for
                  the budget; jobs in the queue
  pause, resume   the worker stops taking jobs, or takes them again; no job is lost

  --name NAME     of the deployment (image-analyzer)
  --since T       30m, 24h, 7d, or a time such as 2026-01-31T12:00:00Z
  --owner-hash H  what the log has as the owner: 16 hex digits
  --rate N        images a second, at most (20)
  --dry-run       says what would be done, and does nothing
  --yes           does it without asking
  --json          one object for each result
  -h, --help

With your AWS credentials and region. For npm start: AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_REGION=us-east-1
AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test. To resume an interrupted command, run it again: it skips what
is done already. Exit codes: 0 all well, 1 something failed, 2 wrong usage or nothing to do,
141 the reader of the results has gone.
`

const OPTIONS = {
  name: { type: 'string', default: 'image-analyzer' },
  since: { type: 'string' },
  code: { type: 'string' },
  'older-than': { type: 'string' },
  'owner-hash': { type: 'string' },
  rate: { type: 'string', default: '20' },
  'dry-run': { type: 'boolean', default: false },
  yes: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const
export type Values = ReturnType<typeof parse>['values']

/** The options of each command, beside those of all. */
export const COMMANDS: Record<string, string[]> = {
  failures: ['since', 'code'],
  retry: ['since', 'code', 'rate', 'dry-run', 'yes'],
  redrive: ['code', 'older-than', 'dry-run', 'yes'],
  cost: [],
  quota: [],
  cancel: ['since', 'owner-hash', 'rate', 'dry-run', 'yes'],
  pause: ['dry-run', 'yes'],
  resume: ['dry-run', 'yes'],
}

export function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true, strict: true, tokens: true })
  } catch (error) {
    const what = wrongOption(error)
    throw what === undefined ? error : new UsageError(`${what}.`)
  }
}

const UNITS_MS: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 }

function readTime(option: 'since' | 'older-than', values: Values): string | undefined {
  const { [option]: text } = values
  if (text === undefined) return undefined
  const [, count, unit = ''] = /^(\d+)([mhd])$/.exec(text) ?? []
  const at = count === undefined ? Date.parse(text) : Date.now() - Number(count) * (UNITS_MS[unit] ?? 0)
  const isTime = count !== undefined || /^\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?$/.test(text)
  if (!isTime || !(at >= 0))
    throw new UsageError(`--${option} must be like 30m, 24h, 7d or 2026-01-31T12:00:00Z, not "${text}".`)
  return new Date(at).toISOString()
}

/** Images, and of dead letters those that were sent before a time. */
export type Wanted = Choice & { before: string | undefined }

export function readChoice(status: Choice['status'], values: Values): Wanted {
  const { code, 'owner-hash': ownerHash } = values
  if (code !== undefined && !FAILURE_CODES.some((one) => one === code))
    throw new UsageError(`--code must be one of ${FAILURE_CODES.join(', ')}, not "${code}".`)
  if (ownerHash !== undefined && !/^[0-9a-f]{16}$/.test(ownerHash))
    throw new UsageError(`--owner-hash must be 16 hex digits, not "${ownerHash}".`)
  const times = { since: readTime('since', values), before: readTime('older-than', values) }
  return { status, code, ownerHash, ...times }
}
