import { parseArgs } from 'node:util'
import { S3Client } from '@aws-sdk/client-s3'
import * as z from 'zod'
import { AwsError } from '../packages/embedded-aws/index.ts'
import { s3Options } from '../shared/aws.ts'
import { httpUrl, parseEnvironment } from '../shared/config.ts'
import { endInOrder, portTrouble, StartError, warningsOf, wrongOption } from '../shared/machine.ts'
import { describe, openVision, readFromS3, STAND_IN, sayWhatIsLost, startRekognition } from './service.ts'
import { credentialsFor, limitsOf, regionOf, serviceSettings } from './settings.ts'

const LOOPBACK = '127.0.0.1'
const EVERY_ADDRESS = '0.0.0.0'

/** The embedded Rekognition alone: `npm run rekognition`, and a service of docker-compose.yml. */
const USAGE = `npm run rekognition -- [options]

Answers as Amazon Rekognition at a port of this machine, for any AWS SDK and the AWS CLI.

  --port    4567 by default; 0 takes any free port
  --host    127.0.0.1 by default; 0.0.0.0 listens at every address, for a container whose port is published on loopback
  --models  models that were added, or the manifest of one; VISION_MODELS, or ~/.image-analyzer/models by default

REKOGNITION=stand-in measures pixels instead of asking the models. ALLOWED_HOSTS names other hosts by which it is reached.
STAND_IN_TPS and STAND_IN_LATENCY_MS slow it down. Where S3Object is to be read: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL;
with neither, Amazon S3 with your AWS credentials.
`

const environmentSchema = z.object({
  REKOGNITION: z.enum(['local', 'stand-in'], 'it has to be local or stand-in').default('local'),
  AWS_ENDPOINT_URL_S3: httpUrl.optional(),
  ...serviceSettings,
})
type Environment = z.infer<typeof environmentSchema>

/** @throws StartError */
function readEnvironment(): Environment {
  const { data, problems } = parseEnvironment(environmentSchema, process.env)
  if (problems === undefined) return data
  throw new StartError(problems)
}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        port: { type: 'string', default: '4567' },
        host: { type: 'string', default: LOOPBACK },
        models: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    const { host, models, help } = values
    const port = /^\d+$/.test(values.port) ? Number(values.port) : Number.NaN
    if (!(port <= 65_535)) throw new Error(`--port must be a number from 0 to 65535, not ${values.port}.`)
    if (host !== LOOPBACK && host !== EVERY_ADDRESS)
      throw new Error(`--host must be ${LOOPBACK} or ${EVERY_ADDRESS}, not ${host}.`)
    return { port, host, models, help }
  } catch (error) {
    const what = wrongOption(error) ?? (error as Error).message.replace(/\.$/, '')
    throw new StartError(`${what}. See npm run rekognition -- --help.`)
  }
}

const NO_S3 =
  'There is no S3 to read from: start npm run rekognition with AWS_ENDPOINT_URL_S3 or AWS credentials, or send Bytes.'

/** What S3Object means: an object of the S3 that the environment names, or of Amazon's. */
function openS3(env: Environment) {
  const endpoint = env.AWS_ENDPOINT_URL_S3 ?? env.AWS_ENDPOINT_URL
  const elsewhere = endpoint === undefined ? {} : { endpoint, ...credentialsFor(env) }
  const s3 = new S3Client({
    ...s3Options({ region: regionOf(env), ...elsewhere }),
    followRegionRedirects: true,
  })
  return {
    described: endpoint ?? 'Amazon S3, with your AWS credentials',
    read: async (bucket: string, key: string): Promise<Uint8Array | undefined> => {
      try {
        await s3.config.credentials()
      } catch {
        throw new AwsError('InvalidS3ObjectException', NO_S3)
      }
      return await readFromS3(s3, bucket, key).catch((error: Error) => {
        throw new AwsError(
          'InvalidS3ObjectException',
          `Unable to get object from S3 (${error.message || error.name}).`,
        )
      })
    },
  }
}

async function main(): Promise<void> {
  const { port, host, models: folder, help } = readOptions()
  if (help) {
    process.stdout.write(USAGE)
    return
  }
  const warn = (sentence: string): void => console.warn(`warning: ${sentence}`)
  for (const sentence of warningsOf(Object.keys(environmentSchema.shape), process.env)) warn(sentence)
  const env = readEnvironment()
  const withModels = { ...process.env, ...(folder && { VISION_MODELS: folder }) }
  const models = env.REKOGNITION === 'local' ? openVision(withModels, warn) : undefined
  const vision = models?.vision
  const s3 = openS3(env)
  const server = await startRekognition({
    port,
    host,
    allowedHosts: env.ALLOWED_HOSTS,
    readObject: s3.read,
    rekognition: {
      vision,
      ...sayWhatIsLost(warn),
      ...limitsOf(env),
    },
  }).catch(portTrouble(port, (free) => `npm run rekognition -- --port ${free}`))
  // Before the ready line: a program that has waited for it may end this one at once.
  endInOrder(async () => {
    await server.stop()
    await vision?.stop()
  }, console.log)
  console.log(`
  Rekognition    ${server.endpoint}
  Answers        ${models?.who ?? STAND_IN} (${describe(models?.who ?? STAND_IN)})
  S3Object       from ${s3.described}

Ready in ${(performance.now() / 1000).toFixed(1)} s. For the AWS CLI and any AWS SDK, with any credentials and region:
export AWS_ENDPOINT_URL_REKOGNITION=${server.endpoint}
`)
  vision?.warm()
}

await main().catch((error) => {
  console.error(error instanceof StartError ? `Rekognition cannot start: ${error.message}` : error)
  process.exit(1)
})
