import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import { S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import { withoutLastSlash } from '../infrastructure/resources.ts'
import { type AwsTarget, clientOptions, readInPlace, s3Options, sqsOptions } from '../shared/aws.ts'
import { ELSEWHERE_TIMEOUT_MS, patient, SOCKETS } from '../shared/machine.ts'

/** Clients of all services but Rekognition. */
export function clientsFor(target: AwsTarget, isEmbedded: boolean) {
  const patience = isEmbedded ? undefined : ELSEWHERE_TIMEOUT_MS
  const forS3 = patient(s3Options(target, SOCKETS), patience)
  return {
    s3: readInPlace(withoutLastSlash(new S3Client(forS3)), forS3),
    sqs: new SQSClient(patient(sqsOptions(target, SOCKETS), patience)),
    dynamoDb: dynamoClient(patient(clientOptions(target, SOCKETS), patience)),
    eventBridge: new EventBridgeClient(patient(clientOptions(target), patience)),
  }
}

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
