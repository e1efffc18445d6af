import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import { S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import { type AwsTarget, clientOptions, readInPlace, s3Options, sqsOptions } from '../shared/aws.ts'

/** Connections to each service: at least three for each image in flight (two batches of ten). */
const SOCKETS = 64
/** For a turn at a socket and for an answer, where AWS is another endpoint; for 5 MB a line at home needs some seconds. */
export const ELSEWHERE_TIMEOUT_MS = 30_000

/** Clients of all services but Rekognition. */
export function clientsFor(target: AwsTarget, isEmbedded: boolean) {
  const patience = isEmbedded ? undefined : ELSEWHERE_TIMEOUT_MS
  const forS3 = patient(s3Options(target, SOCKETS), patience)
  return {
    s3: readInPlace(new S3Client(forS3), forS3),
    sqs: new SQSClient(patient(sqsOptions(target, SOCKETS), patience)),
    dynamoDb: dynamoClient(patient(clientOptions(target, SOCKETS), patience)),
    eventBridge: new EventBridgeClient(patient(clientOptions(target), patience)),
  }
}

/** Options of a client of Rekognition. The limiters try again what is throttled, and the queue the rest. */
export const rekognitionOptions = (target: AwsTarget, ms?: number) => ({
  ...patient(clientOptions(target, SOCKETS), ms),
  maxAttempts: 1,
})

const PATIENCE_MS = 300_000

/**
 * Options of a client whose emulator is in the same process: what it waits for is its own turn, and for one of its
 * sockets, which the SDK counts as the time to connect. With the usual second for that, the 65th request at a time would
 * fail as soon as the first ones take longer.
 *
 * @param ms to wait for a turn, and for an answer
 */
const patient = <Options extends ReturnType<typeof clientOptions>>(
  options: Options,
  ms = PATIENCE_MS,
): Options => ({
  ...options,
  requestHandler: { ...options.requestHandler, connectionTimeout: ms, requestTimeout: ms },
})

/** What reads has sockets of its own, so that who submits never waits behind a thousand readers. */
function dynamoClient(options: ReturnType<typeof clientOptions>): DynamoDBClient {
  const [reads, writes] = [new DynamoDBClient(options).config, new DynamoDBClient(options).config]
  const requestHandler: typeof reads.requestHandler = Object.assign(Object.create(writes.requestHandler), {
    handle: (...[request, ...rest]: Parameters<typeof requestHandler.handle>) => {
      const isRead = /\.(BatchGet|Get|Query|Scan)/.test(request.headers['x-amz-target'] ?? '')
      return (isRead ? reads : writes).requestHandler.handle(request, ...rest)
    },
  })
  return new DynamoDBClient({ ...options, requestHandler })
}
