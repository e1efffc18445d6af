import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import * as net from 'node:net'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { finished } from '../context.ts'
import { launch, newFolder, post, ready, root } from '../started.ts'
import { passOn, refusal, startHere } from '../system.ts'
import { certificateIn, skipped, without } from '../tools.ts'
import { until } from '../until.ts'

const photo = readFileSync(join(root, 'test/fixtures/grace-hopper.jpg'))
const KEY = 'AKIDOFTHISRUN0000000'

/**
 * An emulator as AWS Emulator is (its user guide, "Pointing your AWS SDK at AWS Emulator"): over HTTPS, with a certificate
 * and keys of its own, and without an answer to requests that other keys have signed.
 */
async function strictEmulator() {
  const folder = newFolder()
  const own = certificateIn(folder)
  const keys = join(folder, 'emulator_credentials')
  writeFileSync(keys, `[default]\naws_access_key_id = ${KEY}\naws_secret_access_key = secret\n`)
  const behind = await startHere({ WORKER: 'off' })
  const strangers: unknown[] = []
  const server = createServer(own, (sent, answer) => {
    const { authorization } = sent.headers
    if (!authorization?.includes(`Credential=${KEY}/`)) {
      strangers.push(authorization)
      const body = { __type: 'UnrecognizedClientException', message: 'The security token is invalid.' }
      answer.writeHead(403, { 'content-type': 'application/x-amz-json-1.0' }).end(JSON.stringify(body))
      return
    }
    void passOn(sent, answer, behind.awsEndpoint)
  })
  onTestFinished(() => void server.close().closeAllConnections())
  return { url: `https://127.0.0.1:${await listen(server, 0)}`, certificate: own.file, keys, strangers }
}

const lacking = without('openssl')
it.skipIf(lacking.length > 0)(
  `npm start uses an emulator that has a certificate and keys of its own${skipped(lacking)}`,
  async () => {
    const { url, certificate, keys, strangers } = await strictEmulator()
    expect(await refusal({ AWS_ENDPOINT_URL: url })).toBe(
      `Bucket, table, queues and bus cannot be created at ${url}: self-signed certificate. Name the file of its issuer in NODE_EXTRA_CA_CERTS. AWS_ENDPOINT_URL names that endpoint; without it, an embedded one starts.`,
    )
    const own = { AWS_CA_BUNDLE: certificate, AWS_SHARED_CREDENTIALS_FILE: keys }
    const others = { NODE_EXTRA_CA_CERTS: '', AWS_ACCESS_KEY_ID: '', AWS_PROFILE: '' }
    const launched = launch({ ...own, ...others, AWS_ENDPOINT_URL: url }, ['local/main.ts'], 'run.js')
    const system = await ready(launched)
    const imageId = await post(system.url, photo)
    expect(await finished(system.url, imageId)).toMatchObject({ status: 'completed' })
    expect(strangers).toEqual([])
    expect(system.output()).not.toMatch(/warning/i)
  },
)

it('an endpoint that takes requests and does not answer is named with them, soon, by each program', async () => {
  const sockets: net.Socket[] = []
  const server = net.createServer((socket) => void sockets.push(socket.on('error', () => {})))
  const url = `http://127.0.0.1:${await listen(server, 0)}`
  onTestFinished(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  const given = { AWS_REGION: 'us-east-1', AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test' }
  const resources = { IMAGE_BUCKET: 'images', IMAGE_TABLE: 'images', EVENT_BUS_NAME: 'images' }
  const env = { ...given, ...resources, AWS_ENDPOINT_URL: url, JOB_QUEUE_URL: `${url}/000000000000/jobs` }
  const programs: [file: string, args: string[], call: string][] = [
    ['local/main.ts', [], 'HEAD /image-analyzer-images'],
    ['worker/main.ts', [], 'AmazonSQS.GetQueueAttributes'],
    ['ops/main.ts', ['quota'], 'AmazonSQS.GetQueueUrl'],
  ]
  const begun = programs.map(([file, args]) => launch(env, args, file))
  for (const [index, [file, , call]] of programs.entries())
    await until(
      `${file} names what it waits for`,
      async () =>
        begun[index]?.output().includes(`${new URL(url).host} has not answered ${call} yet.`) || undefined,
    )
  await Promise.all(begun.map(({ end }) => end('SIGKILL')))
})

it.each(['FIPS', 'DUALSTACK'])(
  'an embedded AWS is asked where a profile wants endpoints of %s',
  async (kind) => {
    vi.stubEnv(`AWS_USE_${kind}_ENDPOINT`, 'true')
    onTestFinished(() => void vi.unstubAllEnvs())
    const { url } = await startHere()
    expect(await finished(url, await post(url, photo))).toMatchObject({ status: 'completed' })
  },
)
