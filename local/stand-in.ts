import { S3Client } from '@aws-sdk/client-s3'
import * as z from 'zod'
import { s3Options } from '../shared/aws.ts'
import { allowedHostsSchema } from './door.ts'
import { startRekognition } from './embedded-aws.ts'
import { readFromS3 } from './system.ts'

/** The Rekognition stand-in by itself, beside an emulator that has none; it reads objects at AWS_ENDPOINT_URL. */
const { HOST, PORT, ALLOWED_HOSTS } = z
  .object({
    HOST: z.string().default('127.0.0.1'),
    PORT: z.coerce.number().int().default(4567),
    /** Names besides those of loopback by which it is reached, as that of its container. */
    ALLOWED_HOSTS: allowedHostsSchema.default([]),
  })
  .parse(process.env)
const s3 = new S3Client(s3Options())
const server = await startRekognition({
  host: HOST,
  port: PORT,
  allowedHosts: ALLOWED_HOSTS,
  rekognition: {},
  readObject: (bucket, key) => readFromS3(s3, bucket, key),
})
process.stdout.write(`The Rekognition stand-in answers at ${server.endpoint}\n`)
const end = () => server.stop().then(() => process.exit(0))
process.on('SIGINT', end)
process.on('SIGTERM', end)
