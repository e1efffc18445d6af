import { execFile } from 'node:child_process'
import { cpSync, readFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { DetectFacesCommand, DetectLabelsCommand, RekognitionClient } from '@aws-sdk/client-rekognition'
import { CreateBucketCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import sharp from 'sharp'
import { describe, expect, it, vi } from 'vitest'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { startEmbeddedAws } from '../../packages/embedded-aws/index.ts'
import { isInstalled } from '../../packages/vision/index.ts'
import { s3Options } from '../../shared/aws.ts'
import { outcome } from '../commands.ts'
import { until } from '../context.ts'
import { launch, newFolder, root } from '../started.ts'
import { skipped, without } from '../tools.ts'

const photoPath = join(root, 'test/fixtures/grace-hopper.jpg')
const photo = readFileSync(photoPath)
/** No credentials of the person who runs the tests, and none of a machine at Amazon. */
const NO_AWS = {
  AWS_ACCESS_KEY_ID: '',
  AWS_PROFILE: '',
  AWS_ENDPOINT_URL_S3: '',
  AWS_CONFIG_FILE: '/nowhere',
  AWS_SHARED_CREDENTIALS_FILE: '/nowhere',
  AWS_EC2_METADATA_DISABLED: 'true',
}
const run = (env: Record<string, string> = {}, options = ['--port', '0']) =>
  launch({ ...NO_AWS, ...env }, options, 'rekognition/main.ts')

/** `npm run rekognition`, and the address that it says to export. */
async function started(env: Record<string, string> = {}, options?: string[]) {
  const running = run(env, options)
  const endpoint = await until('its address', async () => {
    if (running.process.exitCode !== null) throw new Error(running.output())
    return /^export AWS_ENDPOINT_URL_REKOGNITION=(http:\S+)$/m.exec(running.output())?.[1]
  })
  return { ...running, endpoint }
}

async function refusal(options: string[], env: Record<string, string> = {}): Promise<string> {
  const { exit, said } = await outcome('rekognition/main.ts', options, { ...NO_AWS, ...env })
  expect(exit).toBe(1)
  return said
}

const credentials = { accessKeyId: 'any', secretAccessKey: 'any' }

/** Without a deadline: the first answer waits for the models, which a machine under load takes its time to load. */
const clientOf = (endpoint: string) =>
  new RekognitionClient({ endpoint, region: 'us-east-1', credentials, maxAttempts: 1 })

/** Of a photo in the bucket, or why there are none. */
async function labelsOf(endpoint: string, Name: string): Promise<unknown> {
  const client = clientOf(endpoint)
  const Image = { S3Object: { Bucket: 'photos', Name } }
  const answer = await client.send(new DetectLabelsCommand({ Image })).catch((error) => error)
  client.destroy()
  return answer
}

/** What a program gets that names this host. */
function ask(endpoint: string, headers: Record<string, string>): Promise<number | undefined> {
  const authorization = 'AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/rekognition/aws4_request'
  const type = 'application/x-amz-json-1.1'
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      endpoint,
      {
        method: 'POST',
        headers: {
          'content-type': type,
          'x-amz-target': 'RekognitionService.DetectLabels',
          authorization,
          ...headers,
        },
      },
      (response) => resolve(response.resume().statusCode),
    )
    request.once('error', reject).end('{}')
  })
}

const lacking = isInstalled() ? [] : ['the models']
describe.skipIf(lacking.length > 0)(`npm run rekognition, with its models${skipped(lacking)}`, () => {
  it('sees who is in a photo for the SDK, answers with an added model by its name, refuses what is no image or in no S3, and ends at SIGINT', async () => {
    const added = newFolder()
    cpSync(join(root, 'test/fixtures/red-or-blue'), join(added, 'red-or-blue'), { recursive: true })
    const alone = await started({ REKOGNITION: '' }, ['--port', '0', '--models', added])
    expect(alone.output()).toContain('Answers        local models and red-or-blue 1.0 (')
    const client = clientOf(alone.endpoint)
    const Image = { Bytes: photo }
    const { Labels, LabelModelVersion } = await client.send(new DetectLabelsCommand({ Image }))
    expect(Labels?.map(({ Name }) => Name)).toContain('Person')
    expect(LabelModelVersion).toBe(
      'local-1 (nanodet-g coco80, efficientnet-lite0 imagenet1k, red-or-blue 1.0)',
    )
    const red = sharp({ create: { width: 320, height: 240, channels: 3, background: '#f00' } }).png()
    const answer = await client.send(new DetectLabelsCommand({ Image: { Bytes: await red.toBuffer() } }))
    expect(answer.Labels?.[0]).toEqual({
      ...{ Name: 'Red', Confidence: expect.any(Number), Instances: [], Aliases: [] },
      ...{ Parents: [{ Name: 'Warm Colour' }], Categories: [{ Name: 'Colours' }] },
    })
    const { FaceDetails } = await client.send(new DetectFacesCommand({ Image, Attributes: ['ALL'] }))
    expect(FaceDetails).toHaveLength(1)
    await expect(
      client.send(new DetectLabelsCommand({ Image: { Bytes: Buffer.from('no image') } })),
    ).rejects.toMatchObject({ name: 'InvalidImageFormatException' })
    const S3Object = { Bucket: 'photos', Name: 'hopper.jpg' }
    await expect(client.send(new DetectLabelsCommand({ Image: { S3Object } }))).rejects.toMatchObject({
      name: 'InvalidS3ObjectException',
      message:
        'There is no S3 to read from: start npm run rekognition with AWS_ENDPOINT_URL_S3 or AWS credentials, or send Bytes.',
    })
    client.destroy()
    expect(await alone.end('SIGINT')).toBe(0)
    expect(alone.output()).toMatch(/Stopping …\n$/)
    expect(alone.output()).not.toMatch(/warning|error/i)
  })
})

describe('npm run rekognition', () => {
  it('reads an S3Object at the S3 of the environment, and answers as in docker-compose.yml to the name that functions have for it, and to no stranger', async () => {
    const read = (file: string) => readFileSync(join(root, file), 'utf8')
    const compose = read('docker-compose.yml')
    const ALLOWED_HOSTS = /ALLOWED_HOSTS: (.*)/.exec(compose)?.[1] ?? ''
    const [, file = '', host = ''] = /(rekognition\/\S+\.ts) --host (\S+)"/.exec(compose) ?? []
    expect(file).toBe('rekognition/main.ts')
    expect(compose).toContain('ports: ["127.0.0.1:4567:4567"]')
    const settings = read('infrastructure/emulators/localstack.tfvars')
    const name = /emulator_rekognition = "http:\/\/([^"]+)"/.exec(settings)?.[1] ?? 'none'
    const aws = await startEmbeddedAws({
      ...{ port: 0, region: 'us-east-1', folder: newFolder(), onDropped: () => {} },
    })
    const env = { ALLOWED_HOSTS, AWS_ENDPOINT_URL_S3: aws.endpoint }
    const { endpoint } = await started(env, ['--port', '0', '--host', host])
    // The door is open for these: what comes next is a refusal of the empty request.
    expect(await ask(endpoint, { host: name })).toBe(400)
    expect(await ask(endpoint, {})).toBe(400)
    expect(await ask(endpoint, { host: 'evil.test' })).toBe(421)
    expect(await ask(endpoint, { origin: 'http://evil.test' })).toBe(403)

    try {
      const s3 = new S3Client(s3Options({ endpoint: aws.endpoint, region: 'us-east-1', credentials }))
      await s3.send(new CreateBucketCommand({ Bucket: 'photos' }))
      await s3.send(new PutObjectCommand({ Bucket: 'photos', Key: 'hopper.jpg', Body: photo }))
      s3.destroy()
      expect(await labelsOf(endpoint, 'hopper.jpg')).toMatchObject({ LabelModelVersion: 'stand-in' })
      expect(await labelsOf(endpoint, 'missing.jpg')).toMatchObject({
        name: 'InvalidS3ObjectException',
        message: expect.stringContaining('Check object key'),
      })
    } finally {
      await aws.stop()
    }
    expect(await labelsOf(endpoint, 'hopper.jpg')).toMatchObject({
      name: 'InvalidS3ObjectException',
      message: expect.stringContaining('ECONNREFUSED'),
    })
  })

  const noCli = without('aws')
  it.skipIf(noCli.length > 0)(
    `is found by the AWS CLI through the line that it prints${skipped(noCli)}`,
    async () => {
      const { endpoint } = await started({ REKOGNITION: 'stand-in' })
      // As a person does who has no account.
      const env = { PATH: process.env['PATH'], HOME: newFolder(), AWS_EC2_METADATA_DISABLED: 'true' }
      const readme = readFileSync(join(root, 'packages/vision/README.md'), 'utf8')
      const [, block = ''] = /^```sh\n(export AWS_ENDPOINT_URL_REKOGNITION=[\s\S]*?)^```/m.exec(readme) ?? []
      const script = block.replace('http://127.0.0.1:4567', endpoint).replace('photo.jpg', photoPath)
      const { stdout } = await promisify(execFile)('sh', ['-c', script], { env })
      expect(JSON.parse(stdout)).toMatchObject({
        Labels: expect.arrayContaining([expect.objectContaining({ Name: 'Portrait Orientation' })]),
        LabelModelVersion: 'stand-in',
      })
    },
  )

  it('says in one sentence what is wrong with a port or a setting', async () => {
    const server = createServer()
    const port = await listen(server, 0)
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    const taken = await refusal(['--port', String(port)], { REKOGNITION: 'stand-in', STAND_IN_TP: '3' })
    expect(warn.mock.calls).toEqual([[expect.stringMatching(/^warning: STAND_IN_TP .* STAND_IN_TPS\?$/)]])
    warn.mockRestore()
    server.close()
    const other = await refusal(['--port', '0'], { REKOGNITION: 'aws' })
    expect(taken).toBe(
      `Rekognition cannot start: Port ${port} is in use, perhaps by another image-analyzer; choose another with npm run rekognition -- --port ${port + 1}.`,
    )
    expect(other).toBe('Rekognition cannot start: REKOGNITION: it has to be local or stand-in')
  })
})
