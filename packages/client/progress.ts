import { inBytes, type Output } from './output.ts'

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
