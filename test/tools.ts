import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { onPath } from '../build/terraform.ts'
import type { Log } from '../shared/log.ts'

/** Options of Node with which run.js starts a program. */
export const NODE = [
  '--disable-warning=ExperimentalWarning',
  ...['--import', new URL('../build/strip-types.js', import.meta.url).href],
]

/** A log that keeps nothing. */
export const SILENT: Log = { info: () => {}, warn: () => {}, error: () => {} }

/** Those of the programs that this machine lacks, or has too old (shared-folder.ts). */
export const without = (...programs: string[]): string[] =>
  programs.filter((program) => onPath(program) === undefined || program === process.env['TOO_OLD'])

/**
 * For the name of tests that are skipped: what is lacking for them. `npm test` takes a test that is skipped without this,
 * such as one whose set-up has failed, for a failure.
 */
export const skipped = (lacking: readonly string[]): string =>
  lacking.length > 0 ? ` (skipped: lacking ${lacking.join(', ')})` : ''

export const noLinux = process.platform === 'linux' ? [] : ['Linux']
export const noSignals = process.platform === 'win32' ? ['signals'] : []

/** The device of Linux on which every write meets a full disk. */
export const noFull = existsSync('/dev/full') ? [] : ['/dev/full']

/** What a server at this machine needs for TLS, and the certificate in a file; by openssl. */
export function certificateIn(folder: string): { key: Buffer; cert: Buffer; file: string } {
  const [key, file] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')]
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  execFileSync('openssl', ['req', '-x509', ...kind, '-keyout', key, '-out', file, ...names], {
    stdio: 'ignore',
  })
  return { key: readFileSync(key), cert: readFileSync(file), file }
}

/** A port for a program that needs to be given one. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() =>
        typeof address === 'object' && address !== null
          ? resolve(address.port)
          : reject(new Error('no port')),
      )
    })
  })
}

/** Posts a file with a form of `POST /uploads`, as a browser does. */
export function sendForm(
  { url, fields }: { url: string; fields: Record<string, string> },
  file: Uint8Array,
): Promise<Response> {
  const form = new FormData()
  for (const [name, value] of Object.entries(fields)) form.append(name, value)
  form.append('file', new Blob([new Uint8Array(file)]))
  return fetch(url, { method: 'POST', body: form })
}
