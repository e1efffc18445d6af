import { styleText } from 'node:util'

/** What a person types to start this command line: in a checkout of the repository it has another name. */
export const COMMAND = process.env['npm_lifecycle_event'] === 'cli' ? 'npm run cli --' : 'image-analyzer'

/** How results are written: lines for people, one JSON object per line, or comma-separated values. */
export type Format = 'text' | 'json' | 'csv'

export interface Output {
  format: Format
  /** A result; each caller says what of it goes where. */
  result: (result: Result) => void
  /** A remark for people, beside the results. */
  note: (line: string) => void
  /** What went wrong with the whole; also where no terminal shows it. */
  trouble: (line: string) => void
  /** A line that is rewritten in place, if there is a terminal for it. */
  status: ((line: string) => void) | undefined
}

export interface Result {
  text: string
  json: object
  csv: Record<string, string | number | undefined>
}

const CLEAR_LINE = '\r\x1b[K'

/** Results go to standard output and all other lines to standard error, so that a pipe gets results only. */
export function createOutput(format: Format, { quiet = false } = {}): Output {
  const { stdout, stderr } = process
  const live = stderr.isTTY === true && !quiet
  let status = ''
  let header = false
  const above = (stream: NodeJS.WriteStream, line: string) => {
    if (status !== '') stderr.write(CLEAR_LINE)
    stream.write(`${line}\n`)
    if (status !== '') stderr.write(status)
  }
  return {
    format,
    result: ({ text, json, csv }) => {
      if (format === 'text') above(stdout, text)
      else if (format === 'json') above(stdout, inJson(json))
      else {
        if (!header) above(stdout, Object.keys(csv).map(cell).join(','))
        header = true
        above(stdout, Object.values(csv).map(cell).join(','))
      }
    },
    note: (line) => {
      if (live || (format === 'text' && !quiet)) above(stderr, line)
    },
    trouble: (line) => above(stderr, line),
    status: live
      ? (line) => {
          status = line
          stderr.write(CLEAR_LINE + line)
        }
      : undefined,
  }
}

/** RFC 4180, section 2; a program gets each character as it is. */
function cell(value: string | number | undefined): string {
  const given = String(value ?? '')
  const text = process.stdout.isTTY === true ? plain(given) : given
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

type Style = 'red' | 'green' | 'yellow' | 'dim' | 'bold'

/** Colours where standard output shows them (a terminal, and no NO_COLOR). */
export const paint = (style: Style, text: string): string =>
  process.stdout.isTTY === true ? styleText(style, text, { stream: process.stdout }) : text

const NOT_PLAIN = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu
/** A file's or a stranger's words on a terminal: without what a terminal would act upon, or would show as other words. */
export const plain = (text: string): string => text.replaceAll(NOT_PLAIN, '\ufffd')

/** The same value without these characters: JSON itself escapes some of them only. */
const inJson = (value: object): string =>
  JSON.stringify(value).replaceAll(
    NOT_PLAIN,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )

export const inBytes = (bytes: number): string => {
  if (bytes < 1_000) return `${Math.round(bytes)} B`
  const [size, unit] =
    bytes < 1e6 ? [bytes / 1e3, 'kB'] : bytes < 1e9 ? [bytes / 1e6, 'MB'] : [bytes / 1e9, 'GB']
  return `${size < 10 ? size.toFixed(1) : Math.round(size)} ${unit}`
}

export interface Counts {
  files: number
  bytes: number
  /** Files that have ended in this run, in any way. */
  done: number
  sentBytes: number
  failed: number
  /** Accepted, and waited for. */
  waiting: number
}

const EVERY_MS = 100
const BAR_CELLS = 24

/** A line that shows how far a run is, ten times a second, for as long as a terminal is there to show it. */
export function startProgress({ status }: Output, counts: Counts): () => void {
  if (status === undefined) return () => {}
  const began = performance.now()
  const draw = () => {
    const seconds = (performance.now() - began) / 1_000
    status(progressLine(counts, seconds, process.stderr.columns || 80))
  }
  const timer = setInterval(draw, EVERY_MS)
  return () => {
    clearInterval(timer)
    status('')
  }
}

export function progressLine(counts: Counts, seconds: number, columns: number): string {
  const { files, bytes, done, sentBytes, failed, waiting } = counts
  // Half for what is sent and half for what has ended: a large file moves the bar before it is there.
  const part = files === 0 ? 0 : (done / files + (bytes === 0 ? 1 : Math.min(1, sentBytes / bytes))) / 2
  const full = Math.round(part * BAR_CELLS)
  const rate = seconds > 0.5 ? `${(done / seconds).toFixed(1)} files/s ${inBytes(sentBytes / seconds)}/s` : ''
  const left = part > 0.02 && part < 1 && seconds > 2 ? `${clock((seconds / part) * (1 - part))} left` : ''
  const line = [
    `${'█'.repeat(full)}${'░'.repeat(BAR_CELLS - full)} ${Math.floor(part * 100)} %`,
    `${done}/${files} files`,
    `${inBytes(sentBytes)}/${inBytes(bytes)}`,
    failed > 0 ? `${failed} failed` : '',
    waiting > 0 ? `${waiting} in analysis` : '',
    rate,
    left,
  ]
    .filter((text) => text !== '')
    .join('  ')
  // A line that wraps could not be rewritten.
  return line.slice(0, Math.max(0, columns - 1))
}

const clock = (seconds: number): string =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`
