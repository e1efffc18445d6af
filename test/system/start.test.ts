import { execFile, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { PurgeQueueCommand } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient, GetCommand, PutCommand } from '@aws-sdk/lib-dynamodb'
import sharp from 'sharp'
import { describe, expect, it, onTestFinished } from 'vitest'
import { clientsFor } from '../../local/clients.ts'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { awsCli, noCli } from '../aws-cli.ts'
import { finished, until } from '../context.ts'
import { distinct, formats, quarters } from '../pictures/pictures.ts'
import { newFolder, post, root, start, startFails, startOnce } from '../started.ts'
import { passOn, refusal, type System, startHere, startQuietly } from '../system.ts'
import { SILENT, skipped } from '../tools.ts'

const photoPath = join(root, 'test/fixtures/grace-hopper.jpg')
const photo = readFileSync(photoPath)
const hasCurl = spawnSync('curl', ['--version']).status === 0

/** A Rekognition that has trouble with every call. */
async function brokenRekognition(): Promise<string> {
  const server = createHttpServer((_, answer) =>
    answer.writeHead(500).end('{"__type":"InternalServerError"}'),
  )
  onTestFinished(() => void server.close())
  return `http://127.0.0.1:${await listen(server, 0)}`
}

interface Thread {
  id: string
  name: string
  /** Of the processor, in hundredths of a second. */
  ticks: number
  niceness: number
}

/** See proc_pid_stat(5). A thread may end while it is looked at. */
const threadsOf = (pid = 0): Thread[] =>
  readdirSync(`/proc/${pid}/task`).flatMap((id) => {
    let stat: string
    try {
      stat = readFileSync(`/proc/${pid}/task/${id}/stat`, 'utf8')
    } catch {
      return []
    }
    const [, name = '', rest = ''] = /\((.*)\) (.*)/s.exec(stat) ?? []
    const fields = rest.split(' ').map(Number)
    return { id, name, ticks: (fields[11] ?? 0) + (fields[12] ?? 0), niceness: fields[16] ?? 0 }
  })

/** Node tells of no thread of its own; the system does, here. */
const noThreads = existsSync('/proc/self/task') ? [] : ['/proc/self/task']

describe('npm start', () => {
  it('obeys the settings of the worker, as AWS does', async () => {
    const system = await startHere({ MAX_LABELS: '2', MIN_CONFIDENCE: '70' })
    const posted = await fetch(`${system.url}/images`, {
      method: 'POST',
      headers: { 'content-type': 'image/jpeg' },
      body: new Uint8Array(photo),
    })
    const { imageId } = (await posted.json()) as { imageId: string }
    const labels = (await finished(system.url, imageId))['rekognitionLabels'] as { Confidence: number }[]
    expect(labels).toHaveLength(2)
    expect(labels.filter(({ Confidence }) => Confidence < 70)).toEqual([])
  })

  it('gives an image up after MAX_ATTEMPTS', async () => {
    const env = { MAX_ATTEMPTS: '1', AWS_ENDPOINT_URL_REKOGNITION: await brokenRekognition() }
    const { url } = await startHere(env)
    expect(await finished(url, await post(url, photo))).toMatchObject({
      ...{ status: 'failed', attempts: 2 },
      failure: { code: 'EXHAUSTED', message: expect.stringMatching(/ in 1 attempt .*InternalServerError/) },
    })
  })

  it('gives an image up that is older than GIVE_UP_DAYS', async () => {
    const env = { DATA_DIR: newFolder(), AWS_ENDPOINT_URL_REKOGNITION: await brokenRekognition() }
    const before = await startHere(env)
    const imageId = await post(before.url, photo)
    await before.stop()
    // It is looked after at once, and is older than a tenth of a second.
    const { url } = await startHere({ ...env, GIVE_UP_DAYS: '0.000001' })
    expect(await finished(url, imageId)).toMatchObject({ status: 'failed', failure: { code: 'EXHAUSTED' } })
  })

  it('leaves nothing hidden at another endpoint: it breaks off no receive, and gives back what it is at', async () => {
    const other = await startHere({ WORKER: 'off' })
    let [receives, answered] = [0, 0]
    const server = createHttpServer((sent, answer) => {
      const isReceive = /ReceiveMessage/.test(String(sent.headers['x-amz-target']))
      receives += Number(isReceive)
      answer.on('finish', () => {
        answered += Number(isReceive)
      })
      void passOn(sent, answer, other.awsEndpoint)
    })
    onTestFinished(() => void server.close().closeAllConnections())
    const AWS_ENDPOINT_URL = `http://127.0.0.1:${await listen(server, 0)}`
    let asked = 0
    const rekognition = createHttpServer(() => {
      asked += 1
    })
    onTestFinished(() => void rekognition.close().closeAllConnections())
    const AWS_ENDPOINT_URL_REKOGNITION = `http://127.0.0.1:${await listen(rekognition, 0)}`
    const lines: string[] = []
    const info = (line: string): void => void lines.push(line)
    const log = { ...SILENT, info, warn: info }
    const system = await startHere({ AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_REKOGNITION }, log)
    await post(system.url, photo)
    await until('a call of Rekognition', async () => asked > 0 || undefined)
    await system.stop()
    expect(answered).toBe(receives)
    expect(lines).toEqual(['accepted', 'claimed', 'out of time'])
  })

  it('sends no job again after a restart that is in the queue, and one that is not', async () => {
    const env = { DATA_DIR: newFolder(), WORKER: 'off' }
    const lines: string[] = []
    const log = { ...SILENT, info: (line: string) => void lines.push(line) }
    const begin = (): Promise<System> => {
      lines.length = 0
      return startHere(env, log)
    }
    const first = await begin()
    await post(first.url, photo)
    expect(lines).toEqual(['accepted'])
    await first.stop()
    const second = await begin()
    expect(lines).toEqual([])
    const { sqs } = clientsFor(second.target, true)
    await sqs.send(new PurgeQueueCommand({ QueueUrl: second.jobQueueUrl }))
    await second.stop()
    await begin()
    expect(lines).toEqual(['requeued'])
  })

  it('ends the lease of a worker that was killed with it', async () => {
    const env = { DATA_DIR: newFolder(), WORKER: 'off' }
    const recordsOf = ({ target }: System) => DynamoDBDocumentClient.from(clientsFor(target, true).dynamoDb)
    const first = await startHere(env)
    const [imageId, TableName] = [await post(first.url, photo), 'image-analyzer-images']
    const key = { TableName, Key: { imageId } }
    const { Item = {} } = await recordsOf(first).send(new GetCommand(key))
    const held = { ...Item, status: 'processing', leaseId: 'killed', leaseUntil: Date.now() + 60_000 }
    await recordsOf(first).send(new PutCommand({ TableName, Item: held }))
    await first.stop()
    const second = await startHere(env)
    expect((await recordsOf(second).send(new GetCommand(key))).Item).toMatchObject({ leaseUntil: 0 })
  })

  it('submits the files it is given, prints each record as it finishes, and no line of the log below LOG_LEVEL; stops at the end of its terminal and leaves no folder', async () => {
    const [folder, TMPDIR] = [newFolder(), newFolder()]
    writeFileSync(join(folder, 'one.png'), await distinct(1))
    writeFileSync(join(folder, 'two.png'), await distinct(2))
    writeFileSync(join(folder, 'text.jpg'), 'hello')
    // More than one request takes.
    const side = { width: 1_300, height: 1_300, channels: 3 } as const
    const noise = sharp(randomBytes(side.width * side.height * 3), { raw: side })
    await noise.png({ compressionLevel: 0 }).toFile(join(folder, 'large.png'))
    mkdirSync(join(folder, 'more'))
    const env = { INIT_CWD: folder, LOG_LEVEL: 'ERROR', TMPDIR }
    const system = await start(env, ['*.png', 'text.jpg', 'more'])
    const output = await until('the line behind the records', async () =>
      system.output().includes('files are done.') ? system.output() : undefined,
    )
    for (const file of ['one.png', 'two.png', 'large.png']) expect(output).toContain(`${file}\n{`)
    expect(output.match(/"status": "completed"/g)).toHaveLength(3)
    expect(output).toContain('text.jpg: UNSUPPORTED_FORMAT: ')
    expect(output).not.toMatch(/^(completed|failed) /m)
    expect(output).toContain('There is no file more. Name the files of a folder, as in photos/*.jpg.\n')
    const last = output.slice(output.lastIndexOf('}') + 1)
    expect(last).toContain(`All 4 files are done. The page and the API stay at ${system.url} until Ctrl-C.\n`)
    expect((await fetch(system.url)).status).toBe(200)
    expect(readdirSync(TMPDIR)).toHaveLength(1)
    expect(await system.end('SIGHUP')).toBe(0)
    expect(readdirSync(TMPDIR)).toEqual([])
  })

  it('says in one sentence what is wrong with a port, a folder or a setting', async () => {
    const server = createServer()
    const port = String(await listen(server, 0))
    const misspelt = 'warning: MAX_ATTEMPT is not a setting and is ignored. Did you mean MAX_ATTEMPTS\\?'
    expect(await startFails({ PORT: port, MAX_ATTEMPT: '3' })).toMatch(
      new RegExp(
        `^${misspelt}\nimage-analyzer cannot start: Port ${port} is in use, .* PORT=\\d+ npm start\\.$`,
      ),
    )
    // The others in this process, which is what npm start prints after the same words.
    expect(await refusal({ AWS_PORT: port })).toMatch(/^Port \d+ is in use, .*AWS_PORT=/)
    server.close()
    for (const one of [
      { PORT: port, AWS_PORT: port },
      { PORT: '4566', AWS_PORT: '' },
    ])
      expect(await refusal(one)).toBe('AWS_PORT: it has to be another port than PORT; without it, it is 4566')
    expect(await refusal({ JWT_ISSUER: 'https://issuer.example', JWT_AUDIENCE: 'images' })).toMatch(
      /JWT_ISSUER: it has no effect with AUTH=none: set AUTH=jwt, .*JWT_AUDIENCE: /,
    )
    expect(await refusal({ AWS_ENDPOINT_URL: `http://127.0.0.1:${port}` })).toMatch(
      /^Bucket, table, queues and bus cannot be created at .*\. AWS_ENDPOINT_URL names that endpoint; .*\.$/,
    )
    const DATA_DIR = newFolder()
    writeFileSync(join(DATA_DIR, 'eventbridge.json'), '{')
    expect(await refusal({ DATA_DIR })).toMatch(/^.*eventbridge\.json.*$/)
    expect(await refusal({ PORT: 'x', DATA_DIR: '' })).toMatch(/^PORT: /)
    expect(await refusal({ PORT: 'x', AUTH: 'JWT' })).toMatch(
      /^AUTH: it has to be none or jwt or iam; PORT: /,
    )
    for (const name of ['AWS_ENDPOINT_URL', 'AWS_ENDPOINT_URL_REKOGNITION'])
      expect(await refusal({ [name]: 'localhost:4566' })).toBe(
        `${name}: it has to be a URL, as in http://127.0.0.1:4566`,
      )
    expect(await refusal({ ALLOWED_HOSTS: 'http://a.test' })).toBe(
      'ALLOWED_HOSTS: it has to be host names without a port, as in a.test,b.test',
    )
    for (const name of ['MAX_IMAGE_BYTES', 'MAX_UPLOAD_BYTES'])
      expect(await refusal({ [name]: '100000001' })).toBe(
        `${name}: the embedded S3 takes 100000000 bytes at most`,
      )
    for (const name of ['REKOGNITION', 'LOG_FORMAT', 'LOG_LEVEL'])
      expect(await refusal({ [name]: 'maybe' })).toMatch(new RegExp(`^${name}: `))
  })
})

describe('one npm start with LOG_FORMAT=json and DATA_DIR', () => {
  let DATA_DIR: string
  const started = startOnce(() => {
    DATA_DIR = newFolder()
    const older = `${'x'.repeat(99)}\n`.repeat(100_000)
    writeFileSync(join(DATA_DIR, 'log.jsonl'), `{"first":true}\n${older}`)
    return { LOG_FORMAT: 'json', DATA_DIR }
  })

  it('prints and keeps the lines of the log as JSON', async () => {
    const system = started()
    const imageId = await post(system.url, photo.subarray(0, 30_000))
    const lines = await until('the story is told', async () => {
      const read = system.output().match(/^\{.*\}$/gm) ?? []
      const found = read.map((line) => JSON.parse(line)).filter((line) => line.imageId === imageId)
      return found.at(-1)?.event === 'announced' ? found : undefined
    })
    expect(lines.map(({ level, event }) => `${level} ${event}`)).toEqual([
      ...['INFO accepted', 'INFO claimed', 'INFO failed', 'INFO announced'],
    ])
    expect(lines[2]).toMatchObject({ code: 'CORRUPT_IMAGE', error: { message: expect.any(String) } })
    // Kept as they were printed, and the older half of what was there before has gone, in whole lines.
    const kept = readFileSync(join(DATA_DIR, 'log.jsonl'), 'utf8')
    expect(kept.length).toBeLessThan(5_100_000)
    expect(kept).toMatch(/^(x{99}\n)+\{/)
    const told = kept.split('\n').filter((line) => line.includes(imageId))
    expect(told.map((line) => JSON.parse(line))).toEqual(lines)
  })

  it('does not share its folder with a second instance', async () => {
    expect(await refusal({ DATA_DIR })).toMatch(/^Another image-analyzer is using .*\.$/)
  })
})

describe('a Rekognition that takes 8 calls a second', () => {
  it('slows the work down and loses nothing', async () => {
    const { system, said } = await startQuietly({ STAND_IN_TPS: '8' })
    const ids = await Promise.all(
      Array.from({ length: 25 }, async (_, index) => post(system.url, await distinct(index))),
    )
    const images = await Promise.all(ids.map((id) => finished(system.url, id)))
    expect(images.map((image) => image.status)).toEqual(ids.map(() => 'completed'))
    expect(said).toEqual([])
  })
})

describe('one npm start', () => {
  let TMPDIR: string
  const started = startOnce(() => {
    TMPDIR = newFolder()
    return { TMPDIR }
  })

  it('takes a real photo and shows its end', async () => {
    const system = started()
    expect(readdirSync(TMPDIR)).toHaveLength(1)
    const form = new FormData()
    form.append('image', new File([new Uint8Array(photo)], 'grace-hopper.jpg'))
    const posted = hasCurl
      ? (await promisify(execFile)('curl', ['-s', '-F', `image=@${photoPath}`, `${system.url}/images`]))
          .stdout
      : await (await fetch(`${system.url}/images`, { method: 'POST', body: form })).text()
    const image = await finished(system.url, JSON.parse(posted).imageId)
    expect(image).toMatchObject({ status: 'completed', labelModelVersion: 'stand-in' })
    const thumbnail = await fetch(`${system.url}/images/${image.imageId}/thumbnail`)
    expect(thumbnail.headers.get('content-type')).toBe('image/jpeg')
    const page = await fetch(system.url)
    expect(page.headers.get('content-security-policy')).toContain(system.aws)
    expect((await fetch(`${system.url}/images`, { method: 'POST', body: 'junk' })).status).toBe(415)
    // Of the API, and of the worker in its thread.
    const metrics = await until('the announcement is counted', async () => {
      const answer = await fetch(`${system.url}/metrics`)
      expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
      const lines = (await answer.text()).split('\n')
      return lines.includes('image_analyzer_completed_total 1') ? lines : undefined
    })
    expect(metrics).toEqual(
      expect.arrayContaining([
        '# HELP image_analyzer_accepted_total Images that were stored and whose job was sent.',
        '# TYPE image_analyzer_accepted_total counter',
        'image_analyzer_accepted_total 1',
        'image_analyzer_refused_total{code="UNSUPPORTED_MEDIA_TYPE"} 1',
        '# TYPE image_analyzer_work_seconds summary',
        expect.stringMatching(/^image_analyzer_work_seconds_sum \d/),
      ]),
    )
    expect(metrics.filter((line) => line.startsWith('# TYPE image_analyzer_refused_total '))).toHaveLength(1)
    const answers = await Promise.all(
      ['HEAD', 'POST'].map((method) => fetch(`${system.url}/metrics`, { method })),
    )
    expect(answers.map(({ status, headers }) => [status, headers.get('allow')])).toEqual([
      [200, null],
      [405, 'GET, HEAD'],
    ])
    const stranger = { headers: { origin: 'http://evil.test' } }
    expect((await fetch(`${system.url}/metrics`, stranger)).status).toBe(403)
  })

  it('leaves it to the caller to close a connection that rests, so that no request is lost on one', async () => {
    const system = started()
    for (const url of [`${system.url}/health`, system.aws]) {
      const { headers } = await fetch(url)
      // A server that closes them says when.
      expect([headers.get('connection'), headers.get('keep-alive')]).toEqual(['keep-alive', null])
    }
  })

  it('answers 20 MB with 413 on a real socket, and goes on', async () => {
    const system = started()
    const chunks = new ReadableStream({
      start: (controller) => {
        for (let sent = 0; sent < 320; sent += 1) controller.enqueue(new Uint8Array(65_536))
        controller.close()
      },
    })
    const sent = { method: 'POST', headers: { 'content-type': 'image/jpeg' }, body: chunks, duplex: 'half' }
    expect((await fetch(`${system.url}/images`, sent as RequestInit)).status).toBe(413)
    for (const headers of [{ 'content-type': 'image/jpeg' }, { 'content-type': 'application/json' }]) {
      const body = new Uint8Array(20_000_000)
      const response = await fetch(`${system.url}/images`, { method: 'POST', headers, body })
      expect(response.status).toBe(413)
      expect(((await response.json()) as { code: string }).code).toBe('IMAGE_TOO_LARGE')
    }
    expect((await finished(system.url, await post(system.url, photo))).status).toBe('completed')
  })

  it('is not ended by requests that make no sense or break off', async () => {
    const system = started()
    const speak = (url: string, text: string) =>
      new Promise<string>((resolve) => {
        const { port, hostname } = new URL(url)
        const socket = connect(Number(port), hostname)
        let answer = ''
        socket.on('data', (chunk) => {
          answer += chunk
        })
        socket.on('error', () => {})
        socket.on('close', () => resolve(answer))
        socket.write(text)
        setTimeout(() => socket.destroy(), 500)
      })
    const signed =
      'Authorization: AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=a\r\nX-Amz-Date: 20260101T000000Z\r\n'
    for (const target of ['//', 'http://[/', '/%', '/a?%=%']) {
      expect(await speak(system.aws, `GET ${target} HTTP/1.1\r\nHost: localhost\r\n${signed}\r\n`)).toMatch(
        /^HTTP\/1.1 [2345]/,
      )
    }
    const broken = 'Host: localhost\r\nContent-Length: 1000\r\n\r\nabc'
    for (const name of [
      'DynamoDB_20120810.GetItem',
      'AmazonSQS.SendMessage',
      'AWSEvents.PutEvents',
      'constructor.x',
      '__proto__.x',
    ]) {
      const head = `POST / HTTP/1.1\r\n${signed}X-Amz-Target: ${name}\r\nContent-Type: application/x-amz-json-1.0\r\n`
      await speak(system.aws, `${head}${broken}`)
    }
    for (const name of ['DynamoDB_20120810.GetItem', 'AmazonSQS.SendMessage', 'AWSEvents.PutEvents']) {
      for (const body of ['null', '[1]', '"x"', '7', '{']) {
        const head = `POST / HTTP/1.1\r\nHost: localhost\r\n${signed}X-Amz-Target: ${name}\r\nContent-Type: application/x-amz-json-1.0\r\n`
        await speak(system.aws, `${head}Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`)
      }
    }
    await speak(system.aws, `PUT /image-analyzer-images/x HTTP/1.1\r\n${signed}${broken}`)
    await speak(system.url, `POST /images HTTP/1.1\r\nContent-Type: image/jpeg\r\n${broken}`)
    await speak(
      system.url,
      `POST /images HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`,
    )
    expect((await finished(system.url, await post(system.url, photo))).status).toBe('completed')
    expect(system.output()).not.toMatch(/error|warning/i)
  })

  it.skipIf(noThreads.length > 0)(
    `AWS and the worker are work of other threads than the one that answers, and what decodes comes last${skipped(noThreads)}`,
    async () => {
      const system = started()
      const { pid } = system.process
      const sum = (threads: Thread[]): number => threads.reduce((ticks, thread) => ticks + thread.ticks, 0)
      const ownOf = (threads: Thread[]) => threads.filter(({ id }) => id === String(pid))
      const before = threadsOf(pid)
      const pictures = await Promise.all(Array.from({ length: 8 }, (_, number) => distinct(number)))
      const ids = await Promise.all(pictures.map((picture) => post(system.url, picture)))
      for (const id of ids) expect((await finished(system.url, id)).status).toBe('completed')
      const after = threadsOf(pid)
      const share = (sum(ownOf(after)) - sum(ownOf(before))) / (sum(after) - sum(before))
      // In one thread it was more than half.
      expect(share).toBeLessThan(0.4)

      const own = ownOf(after)[0]?.niceness ?? 0
      const decoders = after.filter(({ name }) => name === 'libuv-worker')
      expect(new Set(decoders.map(({ niceness }) => niceness))).toEqual(new Set([Math.min(19, own + 10)]))
    },
  )

  it('is joined by one with AUTH=iam and no worker, which says so, and answers what is no HTTP request as the API does', async () => {
    const first = started()
    expect(first.output()).not.toMatch(/AWS_ENDPOINT_URL|Worker {2}/)
    const none = { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '', AWS_PROFILE: '' }
    const system = await start({ ...none, AUTH: 'iam', WORKER: 'off', AWS_ENDPOINT_URL: first.aws })
    const [, keys = '', args = ''] =
      /Try: (.*)npm run cli -- upload photo\.jpg (.*)/.exec(system.output()) ?? []
    expect(args).toBe(`--sign --endpoint ${system.url}`)
    const journal = join(newFolder(), 'journal')
    const command = `"${process.execPath}" packages/client/main.ts upload "${photoPath}" --journal "${journal}"`
    const nowhere = { AWS_CONFIG_FILE: journal, AWS_SHARED_CREDENTIALS_FILE: journal }
    const env = { ...process.env, ...none, ...nowhere, AWS_EC2_METADATA_DISABLED: 'true' }
    await expect(
      promisify(execFile)('sh', ['-c', `${keys}${command} ${args}`], { cwd: root, env }),
    ).resolves.toMatchObject({ stdout: expect.stringContaining('"status":"accepted"') })
    for (const line of [
      `AWS endpoint   ${first.aws} (from AWS_ENDPOINT_URL; without it, an embedded one starts)\n`,
      'Worker         off; npm run worker takes the jobs (docs/worker.md)\n',
    ])
      expect(system.output()).toContain(line)
    const raw = (request: string): Promise<string> =>
      new Promise((resolve, reject) => {
        const socket = connect(Number(new URL(system.url).port), '127.0.0.1', () => socket.write(request))
        let answer = ''
        socket.on('data', (chunk) => {
          answer += chunk
        })
        socket.on('close', () => resolve(answer)).on('error', reject)
      })
    const garbage = [
      ['GET / HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n', '400 Bad Request', 'INVALID_PARAMETER'],
      [`GET /?${'x'.repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, '414 URI Too Long', 'ADDRESS_TOO_LONG'],
      ['\0\0\r\n\r\n', '400 Bad Request', 'INVALID_PARAMETER'],
    ] as const
    for (const [sent, status, code] of garbage) {
      const answer = await raw(sent)
      expect(answer.split('\r\n')[0]).toBe(`HTTP/1.1 ${status}`)
      expect(answer).toContain('content-type: application/problem+json')
      expect(JSON.parse(answer.split('\r\n\r\n')[1] ?? '')).toMatchObject({ code })
    }
    expect((await fetch(`${system.url}/health`)).status).toBe(200)
  })

  it('accepts, completes and announces 40 mixed photos at concurrency 16, with no error in the log', async () => {
    const system = started()
    const pictures = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const [, encode] = formats[index % formats.length] ?? []
        const picture = await quarters(200 + index * 20, 160 + index * 10)
        return encode?.(picture).toBuffer() ?? photo
      }),
    )
    const waiting = Array.from({ length: 40 }, (_, index) => pictures[index % pictures.length] ?? photo)
    const ids: string[] = []
    const send = async (): Promise<void> => {
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop())
        ids.push(await post(system.url, next))
    }
    await Promise.all(Array.from({ length: 16 }, send))
    expect(new Set(ids).size).toBe(40)
    for (const id of ids)
      expect(await finished(system.url, id)).toMatchObject({ status: 'completed', attempts: 1 })
    expect(system.output()).not.toMatch(/error|warning/i)
    const lines = await until('the line of each', async () => {
      const said = system.output()
      return ids.every((id) => said.includes(`completed  ${id}`)) ? said : undefined
    })
    for (const id of ids) expect(lines.split(`completed  ${id}`)).toHaveLength(2)
  })

  describe.skipIf(noCli.length > 0)(`the AWS CLI${skipped(noCli)}`, () => {
    const run = awsCli()

    it('finds every service at the one endpoint', async () => {
      const system = started()
      const aws = async (...args: string[]) => {
        const printed = await run('--endpoint-url', system.aws, ...args)
        return printed.startsWith('{') ? JSON.parse(printed) : printed
      }
      const imageId = await post(system.url, photo)
      expect((await finished(system.url, imageId)).status).toBe('completed')
      expect(await aws('s3', 'ls')).toContain('image-analyzer-images')
      expect(await aws('s3', 'ls', '--recursive', 's3://image-analyzer-images')).toContain(
        `thumbnails/${imageId}.jpg`,
      )
      const file = join(newFolder(), 'original')
      await aws('s3', 'cp', `s3://image-analyzer-images/originals/${imageId}`, file)
      expect(readFileSync(file).equals(photo)).toBe(true)
      const key = JSON.stringify({ imageId: { S: imageId } })
      const item = await aws('dynamodb', 'get-item', '--table-name', 'image-analyzer-images', '--key', key)
      expect(item.Item.status).toEqual({ S: 'completed' })
      const image = JSON.stringify({
        S3Object: { Bucket: 'image-analyzer-images', Name: `originals/${imageId}` },
      })
      const labels = await aws('rekognition', 'detect-labels', '--image', image)
      expect(labels.LabelModelVersion).toBe('stand-in')
      const queues = await aws('sqs', 'list-queues')
      expect(queues.QueueUrls.map((url: string) => url.split('/').at(-1))).toEqual(
        expect.arrayContaining(['image-analyzer-jobs', 'image-analyzer-jobs-dead']),
      )
    })

    /** Runs the commands of a guide, in a folder of its own that has the photo. */
    const follow = async (guide: string, then = '') => {
      const system = started()
      const here = (text: string) =>
        text
          .replaceAll('http://127.0.0.1:3000', system.url)
          .replaceAll('http://127.0.0.1:4566', system.aws)
          // test/system/package.test.ts has the package as it is installed.
          .replaceAll("'@image-analyzer/client'", JSON.stringify(join(root, 'packages/client/index.ts')))
      const text = here(readFileSync(join(root, 'docs/guides', guide), 'utf8'))
      const blocks = [...text.matchAll(/^```(sh|js)\n([\s\S]*?)^```/gm)]
      const written = (language: string) =>
        blocks.filter(([, of]) => of === language).map(([, , block = '']) => block)
      const folder = newFolder()
      mkdirSync(join(folder, 'test'))
      symlinkSync(join(root, 'test/fixtures'), join(folder, 'test/fixtures'), 'junction')
      const cli = `"${process.execPath}" "${join(root, 'packages/client/main.ts')}"`
      const script = ['set -e', `npm() { shift 3; ${cli} "$@"; }`, ...written('sh'), then].join('\n')
      const { AWS_ENDPOINT_URL: _, AWS_ACCESS_KEY_ID: __, ...own } = process.env
      const env = { ...own, AWS_REGION: 'eu-1', IMAGE_ANALYZER_ENDPOINT: system.url, NODE_NO_WARNINGS: '1' }
      const { stdout } = await promisify(execFile)('sh', ['-c', script], { cwd: folder, env })
      return { stdout, folder, code: written('js').join('\n'), env }
    }

    it('follows the guide to events, and leaves nothing behind in the shell', async () => {
      const { stdout } = await follow('events.md', 'echo "left: $AWS_ENDPOINT_URL$AWS_ACCESS_KEY_ID"')
      const [, received = ''] = /(\{\s*"Messages"[\s\S]*\})\s*left: $/m.exec(stdout) ?? []
      const event = JSON.parse(JSON.parse(received).Messages[0].Body)
      expect(event).toMatchObject({ source: 'image-analyzer', detail: { status: 'completed' } })
      expect(event.detail.labels).toContain('Sharp')
    })

    it('follows the guides to moderation, to large files and to a front end', async () => {
      expect((await follow('moderation.md')).stdout).toMatch(/\[\]\s*$/)
      const { stdout, folder, code, env } = await follow('large-files.md')
      expect(stdout).toMatch(/grace-hopper\.jpg.*completed|completed.*grace-hopper\.jpg/)
      // Both in one process.
      const photo = join(folder, 'test/fixtures/grace-hopper.jpg')
      const file = `new File([(await import('node:fs')).readFileSync(${JSON.stringify(photo)})], 'photo.jpg', { type: 'image/jpeg' })`
      const frontEnd = (await follow('front-end.md')).code
      const program = `${frontEnd}\n${code}\nconst file = ${file}
        const { status } = await upload(file)
        console.log(JSON.stringify({ status, ...(await analyse(file)) }))`
      writeFileSync(join(folder, 'page.mjs'), program)
      const said = await promisify(execFile)(process.execPath, ['page.mjs'], { cwd: folder, env })
      expect(JSON.parse(said.stdout)).toMatchObject({
        status: 'completed',
        labels: expect.arrayContaining(['Sharp']),
        thumbnail: expect.stringContaining('/thumbnails/'),
      })
    })
  })

  it('stops at SIGINT and leaves no folder', async () => {
    const system = started()
    expect(await system.end('SIGINT'), system.output()).toBe(0)
    expect(system.output()).not.toMatch(/error|warning/i)
    expect(readdirSync(TMPDIR)).toEqual([])
  })
})
