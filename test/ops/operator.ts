import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { beforeEach, vi } from 'vitest'
import { main } from '../../ops/commands.ts'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { ELSEWHERE, type TestSystem } from '../context.ts'

/** How an answer of AWS is made in its place; undefined: AWS answers. */
export type Instead = (
  operation: string,
  body: string,
  pass: (body: string) => Promise<Response>,
) => Promise<Response | undefined> | undefined

/**
 * The operator's commands in this process, at the embedded AWS. Elsewhere its tests are skipped: the commands would retry,
 * redrive and cancel images of a deployment with the usual name.
 */
export function operatorOf(system: () => TestSystem) {
  beforeEach(({ skip }) => skip(ELSEWHERE !== undefined, 'the embedded AWS is missing'))
  const environment = () => ({
    ...{ AWS_ENDPOINT_URL: system().endpoint, AWS_REGION: 'us-east-1' },
    ...{ AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test' },
  })

  async function ops(
    args: string[],
    env: Record<string, string | undefined> = {},
    onLine = () => {},
    sleep: (ms: number) => Promise<void> = async () => {},
  ) {
    const all = { ...environment(), ...env }
    for (const [name, value] of Object.entries(all)) vi.stubEnv(name, value)
    let [out, err] = ['', '']
    const code = await main(args, {
      out: (text) => {
        out += text
        onLine()
      },
      err: (text) => {
        err += text
      },
      canAsk: false,
      sleep,
    }).finally(() => vi.unstubAllEnvs())
    const lines = out.split('\n').filter((line) => line.startsWith('{'))
    return { code, out, err, results: lines.map((line) => JSON.parse(line)) }
  }

  /** Has what comes to the embedded AWS pass by a program that may answer instead. */
  async function behind<T>(instead: Instead, work: (endpoint: string) => Promise<T>): Promise<T> {
    const server = createServer(async (request, response) => {
      const body = await text(request)
      const headers = new Headers(request.headers as Record<string, string>)
      for (const name of ['connection', 'content-length', 'host', 'expect']) headers.delete(name)
      const { method = 'GET', url = '/' } = request
      const pass = (changed: string) =>
        fetch(system().endpoint + url, { method, headers, ...(method === 'GET' ? {} : { body: changed }) })
      // Lambda's operations have no other name than their paths.
      const operation = headers.get('x-amz-target')?.split('.')[1] ?? `${method} ${url.split('?')[0]}`
      const answer = (await instead(operation, body, pass)) ?? (await pass(body))
      response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' })
      response.end(await answer.text())
    })
    try {
      return await work(`http://127.0.0.1:${await listen(server, 0)}`)
    } finally {
      server.close().closeAllConnections()
    }
  }

  return { environment, ops, behind }
}
